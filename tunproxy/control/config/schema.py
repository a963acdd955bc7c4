"""The keys of tunproxy.toml. ``docs/configuration.md`` explains each of them; a test compares the two.

In the file a key is written with hyphens: ``fake_ip_filter`` is ``fake-ip-filter``. Tables of upstreams,
groups and plugins have keys that depend on their type; these stay together in ``Options``.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from tunproxy.dns.settings import DEFAULT_FILTER, IPV4_RANGE, IPV6_RANGE, MAX_ENTRIES
from tunproxy.plugin.settings import PluginSettings
from tunproxy.secret import Secret

DIRECT: Final = "direct"


class Options(Mapping[str, object]):
    """What a table says besides what all of its kind say. Shows its keys only: values may be secret."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values: Final = dict(values)

    def __getitem__(self, key: str) -> object:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and other._values == self._values

    __hash__ = None  # type: ignore[assignment]  # values may be lists

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{key}=…' for key in self._values)})"


class Table(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A table whose keys are all known."""


class DeviceConfig(Table, frozen=True, kw_only=True):
    """[device]: the TUN device. What the command line says comes first."""

    name: Annotated[str, Meta(description="Name of the TUN device.")] = ""
    mtu: Annotated[
        int | None, Meta(description="Size of a packet in it, in octets, 1280 to 65535; 1500 unless given.")
    ] = None
    memory: Annotated[
        int | str | None,
        Meta(description='What all flows together may hold: octets, or "256M"; 256M unless given.'),
    ] = None
    workers: Annotated[
        int | str | None,
        Meta(description='Processes that carry packets, of `up`: 1 to 64, or "auto", which is the default.'),
    ] = None
    sandbox: Annotated[
        bool,
        Meta(
            description="Whether workers of `up` may write no file and run no program; true unless given. "
            "Plugins that have to need false."
        ),
    ] = True


class CaptureConfig(Table, frozen=True, kw_only=True):
    """[capture]: what of this host's traffic `tunproxy up` takes. What the command line says comes first."""

    include_networks: Annotated[
        tuple[str, ...],
        Meta(description='What goes through tunproxy: "10.0.0.0/8"; everything unless given.'),
    ] = ()
    exclude_networks: Annotated[
        tuple[str, ...], Meta(description="Targets that are left alone, names asked there included.")
    ] = ()
    include_users: Annotated[
        tuple[str | int, ...],
        Meta(description='The only users whose programs are captured: "alice", 1000, "1000-1999".'),
    ] = ()
    exclude_users: Annotated[
        tuple[str | int, ...], Meta(description="Users whose programs are left alone.")
    ] = ()
    include_cgroups: Annotated[
        tuple[str, ...],
        Meta(
            description='The only control groups whose programs are captured: "system.slice/x.service". '
            "They have to be there when tunproxy starts; sockets that are open then do not count."
        ),
    ] = ()
    exclude_cgroups: Annotated[
        tuple[str, ...], Meta(description="Control groups whose programs are left alone; likewise.")
    ] = ()
    exclude_marks: Annotated[
        tuple[str | int, ...],
        Meta(
            description='What carries such a mark is left alone: "0xca6c", "0x80000/0xff0000". Those of '
            "wg-quick and those that other programs' policy rules ask for always are."
        ),
    ] = ()
    forwarded: Annotated[
        bool,
        Meta(
            description="Whether what this host forwards is captured, too: containers, virtual machines, a "
            "network it is the router of. False unless given."
        ),
    ] = False
    include_interfaces: Annotated[
        tuple[str, ...],
        Meta(description='With forwarded, only what comes in by these interfaces: "docker0".'),
    ] = ()
    exclude_interfaces: Annotated[
        tuple[str, ...], Meta(description="With forwarded, what comes in by these is left alone.")
    ] = ()
    direct_lane: Annotated[
        bool,
        Meta(
            description="Whether the kernel carries what the rules send DIRECT by its address alone, so that "
            "it never comes to tunproxy. False unless given."
        ),
    ] = False
    kill_switch: Annotated[
        bool,
        Meta(
            description="Whether nothing may leave but through tunproxy, even after it was killed, until "
            "`tunproxy rescue`. False unless given."
        ),
    ] = False


class DnsConfig(Table, frozen=True, kw_only=True):
    """[dns]: what becomes of questions that programs ask port 53."""

    mode: Annotated[
        Literal["real-ip", "fake-ip", "off"],
        Meta(
            description="real-ip answers what resolvers say and remembers it, so that rules know names; "
            "fake-ip answers ones of 198.18.0.0/15 and fc00::/18 that stand for names; off leaves them be."
        ),
    ] = "real-ip"
    servers: Annotated[
        tuple[str, ...],
        Meta(
            description='Resolvers, in order: "9.9.9.9", "tcp://…", "tls://…", "https://…/dns-query". '
            'The host\'s own unless given, and "system" among others.'
        ),
    ] = ()
    bootstrap: Annotated[
        tuple[str, ...],
        Meta(
            description="Resolvers that find the addresses of those written by name only; unless given, "
            "those of servers that have an address."
        ),
    ] = ()
    strategy: Annotated[
        Literal["failover", "race"],
        Meta(description="failover asks the next resolver when one does not answer; race asks all at once."),
    ] = "failover"
    domains: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description='Resolvers of domains: "corp.example" = ["10.0.0.53"]. The longest suffix wins.'),
    ] = field(default_factory=dict)
    hosts: Annotated[
        dict[str, str | tuple[str, ...]],
        Meta(description='Names with fixed addresses: "nas.lan" = "192.168.1.9", or a list of addresses.'),
    ] = field(default_factory=dict)
    hosts_file: Annotated[bool, Meta(description="Whether names in /etc/hosts have the addresses there.")] = (
        True
    )
    cache_size: Annotated[
        int,
        Meta(
            ge=0,
            description="How many answers are kept until their TTL ends, 0 for none; 10000 unless given.",
        ),
    ] = MAX_ENTRIES
    serve_stale: Annotated[
        int,
        Meta(
            ge=0,
            le=604_800,
            description="Seconds after its TTL for which an answer still serves when no resolver answers; "
            "0, for never, unless given.",
        ),
    ] = 0
    random_capitals: Annotated[
        bool,
        Meta(
            description="Whether resolvers are asked over UDP for wWW.exAMple, with capitals by chance, "
            "which who forges answers has to guess. One that does not keep them is asked without."
        ),
    ] = True
    client_subnet: Annotated[
        str,
        Meta(
            description='What resolvers may pass on about where we are: "203.0.113.0/24". '
            "Nothing unless given."
        ),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(
            description="Certificates that resolvers over TLS and HTTPS prove themselves with; the system's "
            "unless given."
        ),
    ] = ""
    fake_ip_range: Annotated[
        str, Meta(description="Where fake IPv4 addresses are from; 198.18.0.0/15 unless given.")
    ] = IPV4_RANGE
    fake_ip_range6: Annotated[
        str, Meta(description='Where fake IPv6 addresses are from, "" for none; fc00::/18 unless given.')
    ] = IPV6_RANGE
    fake_ip_filter: Annotated[
        tuple[str, ...],
        Meta(
            description='Names that get real addresses even with fake-ip: "+.lan", "time.*.com". '
            "Unless given, names of the local network and of time servers."
        ),
    ] = DEFAULT_FILTER
    fake_ip_targets: Annotated[
        tuple[str, ...],
        Meta(
            description="With fake-ip, only names that rules send to one of these targets get fake "
            "addresses; those of all targets unless given."
        ),
    ] = ()
    fake_ip_file: Annotated[
        str | None,
        Meta(
            description='What keeps fake addresses from one run to the next, "" for nothing; '
            "~/.local/state/tunproxy/fake-ip unless given."
        ),
    ] = None
    drain: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="With fake-ip, seconds for which tunproxy up, told to end, goes on with flows to "
            "fake addresses while it answers real ones; 2 unless given.",
        ),
    ] = 2.0
    resolved: Annotated[
        bool,
        Meta(description="Whether tunproxy up has systemd-resolved ask it, where that runs."),
    ] = True
    hijack_except: Annotated[
        tuple[str, ...],
        Meta(description="Addresses of resolvers whom programs may ask themselves, past tunproxy."),
    ] = ()


class RuleSetConfig(Table, frozen=True, kw_only=True):
    """[rule-sets.NAME]: a file of names, addresses or conditions, for RULE-SET, GEOSITE, GEOIP and IP-ASN."""

    path: Annotated[
        str, Meta(description="The file; a relative path counts from the configuration's folder.")
    ]
    format: Annotated[
        Literal["", "yaml", "text", "mrs", "json", "srs", "geosite", "geoip", "mmdb", "hosts", "adguard"],
        Meta(description="What the file is; told from its content and its ending unless given."),
    ] = ""
    behavior: Annotated[
        Literal["domain", "ipcidr", "classical"],
        Meta(description="What the entries of a yaml or text file are, as in Clash; classical unless given."),
    ] = "classical"
    list: Annotated[
        str,
        Meta(
            description="Of a geosite, geoip or mmdb file: the one list or country that RULE-SET,NAME means. "
            "GEOSITE, GEOIP and IP-ASN find theirs by themselves."
        ),
    ] = ""
    url: Annotated[
        str,
        Meta(
            description="Where `tunproxy rules update` downloads the file from, over HTTP or HTTPS. Nothing "
            "else does."
        ),
    ] = ""


class ApiConfig(Table, frozen=True, kw_only=True):
    """[api]: the control socket, at which tunproxy status and tunproxy reload ask, and dashboards may."""

    enabled: Annotated[bool, Meta(description="Whether there is one.")] = True
    listen: Annotated[
        str,
        Meta(
            description='Where tunproxy up lets dashboards ask over TCP, on loopback: "127.0.0.1:9090". '
            "Nowhere unless given."
        ),
    ] = ""
    secret: Annotated[
        Secret,
        Meta(
            description="What dashboards must know there, 8 letters at least. One is generated, and kept, "
            "unless given."
        ),
    ] = field(default_factory=lambda: Secret(""))
    allow_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Names, besides those of loopback, by which it may be asked over TCP."),
    ] = ()
    allow_origins: Annotated[
        tuple[str, ...],
        Meta(description='Web pages, besides those of this machine, that may ask: "https://dash.example".'),
    ] = ()


class LogConfig(Table, frozen=True, kw_only=True):
    """[log]: lines about what happens. What the command line says comes first."""

    level: Annotated[
        Literal["", "debug", "info", "notice", "warning", "error"],
        Meta(description="What a line must matter at least to be written; notice unless given."),
    ] = ""
    format: Annotated[
        Literal["", "auto", "console", "json", "journal"],
        Meta(
            description="How lines look: console for people, json for programs, journal with fields for "
            "systemd's. auto, the default, is journal where standard error leads there, else console."
        ),
    ] = ""


class HistoryConfig(Table, frozen=True, kw_only=True):
    """[history]: flows that are over, kept on the disk for tunproxy history and tunproxy replay."""

    enabled: Annotated[
        bool, Meta(description="Whether flows are recorded when they are over. False unless given.")
    ] = False
    size: Annotated[
        int | str,
        Meta(description='How large the file may be: octets, or "64M"; then the oldest make room.'),
    ] = "64M"
    age: Annotated[
        int | str,
        Meta(description='How long a flow is kept: seconds, or "24h", "7d"; "7d" unless given.'),
    ] = "7d"


class ApplyConfig(Table, frozen=True, kw_only=True):
    """[apply]: what has to work after a new configuration was applied; it is taken back where it does not."""

    check: Annotated[
        tuple[str, ...],
        Meta(
            description='What worked before has to work afterwards: "https://www.example.com/", '
            '"192.0.2.7:22", "example.com" (a name to resolve), "run: COMMAND". Nothing unless given.'
        ),
    ] = ()
    check_seconds: Annotated[
        float,
        Meta(ge=0.1, le=60, description="How long each check may take, and be tried again; 5 unless given."),
    ] = 5.0
    keep: Annotated[
        bool,
        Meta(description="Whether generations are kept, for `tunproxy undo`; true unless given."),
    ] = True


class UpstreamConfig(Struct, frozen=True, kw_only=True):
    """[upstreams.NAME]: a way out."""

    type: Annotated[
        str,
        Meta(
            description='The kind of proxy: "socks5", "http", "https", "shadowsocks", '
            "or whatever plugins contribute."
        ),
    ]
    options: Annotated[Options, Meta(description="The options of that type; see the plugin's README.")]


class GroupConfig(Struct, frozen=True, kw_only=True):
    """[groups.NAME]: several upstreams or groups under one name."""

    type: Annotated[
        str,
        Meta(description='How it chooses: "select", "url-test", "fallback", "load-balance", "relay".'),
    ]
    members: Annotated[
        tuple[str, ...], Meta(description="Names of upstreams and groups, and DIRECT, REJECT, REJECT-DROP.")
    ]
    options: Annotated[Options, Meta(description="The options of that type.")]


class PluginsConfig(Table, frozen=True, kw_only=True):
    """[plugins]: which plugins run. [plugins.NAME] has enabled, priority, and that plugin's own options."""

    folder: Annotated[
        str, Meta(description="Folder of drop-in plugins; ~/.config/tunproxy/plugins unless given.")
    ] = ""
    allow: Annotated[
        tuple[str, ...] | None, Meta(description="Names of the only plugins that may run; all unless given.")
    ] = None
    deny: Annotated[tuple[str, ...], Meta(description="Names of plugins that never run.")] = ()


class PluginTable(Table, frozen=True, kw_only=True):
    """[plugins.NAME]: one plugin."""

    enabled: Annotated[bool, Meta(description="Whether it runs.")] = True
    priority: Annotated[
        int, Meta(description="Plugins of higher priority are asked first, those of equal ones as they wish.")
    ] = 0


class Config(Table, frozen=True, kw_only=True):
    """The whole file."""

    device: DeviceConfig = field(default_factory=DeviceConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    dns: DnsConfig = field(default_factory=DnsConfig)
    upstreams: dict[str, UpstreamConfig] = field(default_factory=dict)
    groups: dict[str, GroupConfig] = field(default_factory=dict)
    rule_sets: dict[str, RuleSetConfig] = field(default_factory=dict)
    rules: Annotated[
        tuple[str, ...],
        Meta(description="Rules, asked in order: TYPE,PAYLOAD,TARGET, as in a rule file."),
    ] = ()
    rules_file: Annotated[
        str, Meta(description="A file of rules, one a line, in place of rules; it is watched as well.")
    ] = ""
    sub_rules: Annotated[
        dict[str, tuple[str, ...]], Meta(description="Lists of rules under a name, for SUB-RULE.")
    ] = field(default_factory=dict)
    default: Annotated[
        str,
        Meta(
            description="Where flows go that meet no rule: an upstream or group, DIRECT, REJECT, REJECT-DROP."
        ),
    ] = DIRECT
    plugins: PluginSettings = field(default_factory=PluginSettings)
    api: ApiConfig = field(default_factory=ApiConfig)
    log: LogConfig = field(default_factory=LogConfig)
    apply: ApplyConfig = field(default_factory=ApplyConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
