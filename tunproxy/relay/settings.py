"""The keys of relay.toml. ``packaging/relay.toml`` is an example with all of them.

In the file a key is written with hyphens: ``half_open`` is ``half-open``.
"""

from typing import Final, Literal

from msgspec import Struct, field

from tunproxy.secret import Secret


class Table(Struct, frozen=True, kw_only=True, rename="kebab"):
    """A table whose keys are all known."""


DEFAULT_LISTEN: Final = ("127.0.0.1:8080",)


class TlsTable(Table, frozen=True, kw_only=True):
    """[tls]: with it, clients may come inside TLS; with required they must."""

    certificate: str
    key: str = ""
    client_ca: str = ""
    required: bool = False


class ShadowsocksTable(Table, frozen=True, kw_only=True):
    """[shadowsocks]: a listener of its own. users are names and keys, where the method tells them apart."""

    listen: tuple[str, ...]
    method: str
    password: Secret
    users: dict[str, Secret] = field(default_factory=dict)
    udp: bool = True
    connections: int = 0
    rate: int | str = 0


class UserTable(Table, frozen=True, kw_only=True):
    """[users.NAME]: one of password and password_hash; limits of 0 are none."""

    password: Secret | None = None
    password_hash: Secret | None = None
    connections: int = 0
    rate: int | str = 0


class TargetsTable(Table, frozen=True, kw_only=True):
    """[targets]: entries as ``targets.parse_entry`` reads them."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    default: Literal["allow", "deny"] = "allow"


class LimitsTable(Table, frozen=True, kw_only=True):
    """[limits]: how many connections a worker has, and how long what may take. Times are in seconds."""

    connections: int = 10_000
    handshake: float = 10.0
    connect: float = 15.0
    idle: float = 7200.0
    half_open: float = 600.0
    udp_idle: float = 120.0  # no less than two minutes (RFC 9298 §3.1, RFC 4787 §4.3)


class MetricsTable(Table, frozen=True, kw_only=True):
    """[metrics]: where Prometheus asks; "" is nowhere."""

    listen: str = ""


class LogTable(Table, frozen=True, kw_only=True):
    """[log]: from which level on lines are written, and how they look (``logs``); "" is left open."""

    level: Literal["", "debug", "info", "notice", "warning", "error"] = ""
    format: Literal["", "auto", "console", "json", "journal"] = ""


class CodecsTable(Table, frozen=True, kw_only=True):
    """[codecs]: what clients may ask for, and the dictionary of zstd that both ends have."""

    offer: tuple[str, ...] = ("zstd", "gzip")
    dictionary: str = ""
    zstd_level: int | None = None
    gzip_level: int | None = None
    compress_secrets: bool = False


class RelayConfig(Table, frozen=True, kw_only=True):
    """The whole file. workers of 0 are as many as there are processors."""

    listen: tuple[str, ...] = DEFAULT_LISTEN
    workers: int = 0
    drain: float = 30.0
    anonymous: bool = False
    log_flows: bool = False
    tls: TlsTable | None = None
    shadowsocks: ShadowsocksTable | None = None
    users: dict[str, UserTable] = field(default_factory=dict)
    targets: TargetsTable = TargetsTable()
    limits: LimitsTable = LimitsTable()
    metrics: MetricsTable = MetricsTable()
    codecs: CodecsTable = CodecsTable()
    log: LogTable = LogTable()
