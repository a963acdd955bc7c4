"""Random lists of rules, and random flows that meet many of them: both draw from the same few names.

Everything that a list refers to (rule sets, geodata, other lists) is made here too, and is the same for
whoever reads it.
"""

import ipaddress
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.interop.rules_peer import (
    FIRST_PORT,
    SENDERS,
    TARGETS,
    TCP_ONLY,
    USERS,
    Sent,
    inbound_name,
)

LABELS = ("www", "api", "cdn", "mail", "ads", "x1", "a", "b", "s3-eu", "_dmarc", "xn--mller-kva", "0")
BASES = (
    "example.com", "example.org", "a.com", "b.a.com", "shop.co.uk", "xn--bcher-kva.example", "ads.net", "com",
    "local", "x1.a.com", "lan.home.arpa", "aa.com", "1e100.net", "xn--e1afmkfd.xn--p1ai",
)  # fmt: skip
WORDS = (
    "a",
    "ads",
    "ample",
    "cdn",
    "co",
    "x1",
    ".com",
    "ww",
    "e.c",
    "-",
    "xn--",
    "mail.a",
    "0",
    "zz",
    "s3-eu.",
)
PATTERNS = (
    "*.a.com", "*.a?m", "*ads*", "?.a.com", "*", "www.*.com", "*.example.???", "a*b*c*", "cdn*", "*.com",
    "??.com", "*a*a*", "www.example.com", "*.xn--*", "*e1*", "**.org", "*-*",
)  # fmt: skip
EXPRESSIONS = (
    r"^a{1,3}\.com$", r"(?i)ADS", r"^(www|api)\.", r"\.com$", r"[0-9]+", r"^[^.]+\.[^.]+$",
    r"ample\.(com|org)",
    r"\bcdn\b", r"^x\d", r"^.{5,7}$", r"(^|\.)a\.com$", r"a.c", r"^$", r"(?:ab|a)+",
    r"^\w+$", r"s3.*u\.", r"xn--", r"[^a-z.]", r"c{0}d", r"z*$", r"a??b",
)  # fmt: skip
LOOKING = (r"^(?!.*ads).*com$", r"(?<=\.)a", r"(?<!x1)\.a", r"c(?=d|o)")  # for rules, not for GEOSITE
ADDRESSES = (
    "10.0.0.1", "10.1.2.3", "192.168.1.5", "192.168.77.8", "172.16.0.1", "172.32.0.1", "8.8.8.8", "8.8.4.4",
    "1.1.1.1", "93.184.216.34", "100.64.0.1", "169.254.1.1", "224.0.0.5", "203.0.113.7", "198.51.100.200",
    "255.255.255.255", "127.0.0.53", "2001:db8::1", "2001:db8:1::8", "2606:4700::1111", "fd00::5", "fe80::9",
    "ff02::fb", "2a00:1450:4001::200e", "64:ff9b::808:808",
)  # fmt: skip
SOURCES = (
    "10.0.0.5", "10.9.8.7", "192.168.1.5", "192.168.1.200", "172.16.0.1", "127.0.0.1", "100.64.9.9",
    "8.8.8.8", "2001:db8::77", "fd00::5", "fd12::1:2", "2606:4700::1", "::1",
)  # fmt: skip
PORTS = (1, 22, 53, 80, 81, 443, 444, 999, 1000, 1001, 2000, 5353, 8080, 32768, 65535)
IN_TYPES = (
    "SOCKS",
    "HTTP",
    "HTTPS",
    "SOCKS4",
    "SOCKS5",
    "TUN",
    "INNER",
    "REDIR",
    "TPROXY",
    "SHADOWSOCKS",
    "VMESS",
)
COUNTRIES = ("cn", "bb", "de", "private")  # mihomo looks for a country cn to see whether a file is whole
SYSTEMS = (13335, 15169, 64512)
SITES = ("cn", "alpha", "beta")  # and for a list cn
MARKS = ("ads", "cn")
ABOUT_ADDRESSES = ("IP-CIDR", "IP-CIDR6", "SRC-IP-CIDR", "IP-SUFFIX", "GEOIP", "IP-ASN", "RULE-SET")
PROGRAMS = tuple(sender.name for sender in SENDERS)


Any = TypeVar("Any")


@dataclass
class World:
    """Lists, what they refer to, and the flows to ask about."""

    lists: list[list[str]] = field(default_factory=list)
    named: dict[str, list[str]] = field(default_factory=dict)  # for SUB-RULE
    closed: list[int] = field(default_factory=list)  # lists whose inbound wants a user
    sets: dict[str, tuple[str, list[str]]] = field(
        default_factory=dict
    )  # behaviour and items, without targets
    sites: dict[str, list[tuple[int, str, tuple[str, ...]]]] = field(
        default_factory=dict
    )  # type, value, marks
    countries: dict[str, list[str]] = field(default_factory=dict)
    systems: dict[int, list[str]] = field(default_factory=dict)
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of names
    flows: list[Sent] = field(default_factory=list)


class Maker:
    """Draws everything from one seed."""

    def __init__(self, seed: int, folder: str, *, database: bool) -> None:
        """folder is where the programs are that flows come from; database: countries are from one."""
        self.folder = folder
        self.database = database
        self.chance = random.Random(seed)
        self.number = 0  # of the list that is being made
        self.sets: tuple[str, ...] = ()
        # We differ from mihomo on purpose: it asks the parts of a rule, or of a set, in their order, and
        # resolves a name for the first that wants an address. We do not where another part settles the
        # answer, and ask no resolver for nothing. That can be seen only where `no-resolve` is near. So all
        # parts of one rule resolve names or none does, and in a list with `no-resolve` only rules of one part
        # do.
        self.resolves = False
        self.mixed = False
        # Not asked about sources, since mihomo finds no process then.
        self.asking_processes: list[str] = []
        self.kinds: dict[str, Callable[[], str]] = {
            "DOMAIN": self.name,
            "DOMAIN-SUFFIX": self.suffix,
            "DOMAIN-KEYWORD": lambda: self.case(self.pick(WORDS)),
            "DOMAIN-WILDCARD": self.pattern,
            "DOMAIN-REGEX": lambda: self.pick((*EXPRESSIONS, *LOOKING)),
            "GEOSITE": self.site,
            "GEOIP": self.country,
            "SRC-GEOIP": self.country,
            "IP-CIDR": self.prefix,
            "IP-CIDR6": self.prefix,
            "SRC-IP-CIDR": self.prefix,
            "IP-SUFFIX": self.prefix,
            "SRC-IP-SUFFIX": self.prefix,
            "IP-ASN": lambda: str(self.pick(SYSTEMS)),
            "SRC-IP-ASN": lambda: str(self.pick(SYSTEMS)),
            "DST-PORT": self.ports,
            "SRC-PORT": self.ports,
            "IN-PORT": self.in_ports,
            "IN-TYPE": self.in_types,
            "IN-USER": lambda: "/".join(self.some((*USERS, "Alice", "carol"))),
            "IN-NAME": lambda: "/".join(
                self.some((self.inbound(0), self.inbound(1), self.inbound(0).lower(), "x"))
            ),
            "REMATCH-NAME": lambda: self.pick(("x", "y/z")),
            "PROCESS-NAME": lambda: self.case(self.pick((*PROGRAMS, "firefox"))),
            "PROCESS-NAME-WILDCARD": lambda: self.pick(
                ("*", "c?rl", "*.service", "Browser*", "curl?", "b*-o*")
            ),
            "PROCESS-NAME-REGEX": lambda: self.pick(("^curl$", "(?i)browser", r"\.service$", "^.{4}$", "O")),
            "PROCESS-PATH": lambda: self.case(f"{self.folder}/{self.pick((*PROGRAMS, 'x'))}"),
            "PROCESS-PATH-WILDCARD": lambda: self.pick(("*/curl", "/*", "*sync*", "/usr/*", "*")),
            "PROCESS-PATH-REGEX": lambda: self.pick(("/curl$", "(?i)BROWSER", "^/usr/", "/[^/]*$")),
            "UID": lambda: "/".join(self.some(("7", "1001", "1000-1002", "1003-1009", "5", "1005-1000"))),
            "NETWORK": lambda: self.case(self.pick(("tcp", "udp"))),
            "DSCP": lambda: self.pick(("0", "1-5", "0-3/8", "46", "63")),
            "RULE-SET": self.set_name,
        }
        # Kinds that decide much too often, or of which one question costs a walk through /proc.
        self.rare = {"NETWORK", "DSCP", "IN-TYPE", "UID", "REMATCH-NAME"}

    def pick(self, choices: Sequence[Any]) -> Any:
        return self.chance.choice(choices)

    def some(self, choices: tuple[str, ...]) -> list[str]:
        return self.chance.sample(choices, self.chance.randint(1, 2))

    def often(self, share: float) -> bool:
        return self.chance.random() < share

    # ---- payloads

    def case(self, text: str) -> str:
        """Return text, now and then in capitals: most of the language does not mind."""
        return text.upper() if self.often(0.1) else text

    def host(self) -> str:
        """Return a name as it is on the wire: lower case, Punycode."""
        return ".".join(
            [*self.chance.choices(LABELS, k=self.chance.choice((0, 0, 1, 1, 2, 3))), self.pick(BASES)]
        )

    def name(self) -> str:
        """Return a name as a rule has it."""
        host = self.host()
        if self.often(0.5):
            host = self.pick(BASES)
        return self.case(host) + ("." if self.often(0.03) else "")

    def suffix(self) -> str:
        lead = self.pick(("+.", ".", "*.")) if self.often(0.05) else ""
        name = self.name()
        return lead + (name.partition(".")[2] or name if self.often(0.3) else name)

    def pattern(self) -> str:
        if self.often(0.6):
            return self.case(self.pick(PATTERNS))
        letters = [self.pick("*?") if self.often(0.15) else letter for letter in self.host()]
        return "".join(letters)

    def address(self) -> str:
        text = self.pick(ADDRESSES)
        if self.often(0.3):
            near = ipaddress.ip_address(text)
            width = self.chance.randint(1, near.max_prefixlen)
            text = str(
                type(near)(int(near) ^ self.chance.getrandbits(width) >> self.chance.randint(0, width))
            )
        return str(text)

    def prefix(self) -> str:
        address = self.pick(SOURCES) if self.often(0.4) else self.address()
        longest = 128 if ":" in address else 32
        length = longest if self.often(0.1) else self.chance.randint(0, longest)
        return f"{address}/{length}"

    def ports(self) -> str:
        parts = []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            port = self.pick(PORTS)
            other = self.chance.choice((port, *PORTS, 65535, 1))
            parts.append(f"{port}-{other}" if self.often(0.3) else str(port))
        return "/".join(parts)

    def in_ports(self) -> str:
        port = FIRST_PORT + self.number
        return self.pick((str(port), f"{port - 3}-{port}", f"{port + 1}/{port - 1}", "1-65535", "7890"))

    def in_types(self) -> str:
        return self.case("/".join(self.some(IN_TYPES)))

    def inbound(self, more: int) -> str:
        return inbound_name(self.number + more)

    def set_name(self) -> str:
        other = "-resolves" if self.mixed or not self.resolves else "-plain"
        return str(
            self.pick([name for name in self.sets if not name.startswith("classical") or other not in name])
        )

    def site(self) -> str:
        mark = f"@{self.pick(MARKS)}" if self.often(0.3) else ""
        return ("!" if self.often(0.2) else "") + self.case(self.pick(SITES)) + mark

    def country(self) -> str:
        if self.often(0.2):
            return self.case("lan")
        negated = "!" if self.often(0.1) and not self.database else ""
        return negated + self.case(self.pick(COUNTRIES))

    # ---- conditions and lists

    def condition(self, depth: int = 0, *, sets: bool = True) -> str:
        """Return a condition without a target; params only where they stand inside of it."""
        chances = (("AND", 4), ("OR", 3), ("NOT", 3)) if depth < 3 else ()
        kind = self.chance.choices(
            [*self.kinds, *(name for name, _ in chances)],
            [*(0.4 if name in self.rare else 2 for name in self.kinds), *(weight for _, weight in chances)],
        )[0]
        if kind == "RULE-SET" and not sets:
            kind = "DOMAIN"
        if kind in ("AND", "OR", "NOT"):
            self.resolves = self.resolves and not self.mixed
            count = 1 if kind == "NOT" else self.chance.choice((1, 2, 2, 2, 3))
            blank = " " if self.often(0.1) else ""
            children = [f"({self.full(depth + 1, sets=sets)}){blank}" for _ in range(count)]
            return f"{self.case(kind)},({blank}{f',{blank}'.join(children)})"
        kind = kind.lower() if self.often(0.05) else kind
        return f"{kind},{self.kinds[kind.upper()]()}"

    def full(self, depth: int, *, sets: bool = True) -> str:
        """Return a condition as it stands in parentheses or in a set: its params come right after it."""
        condition = self.condition(depth, sets=sets)
        return condition + self.params(condition)

    def params(self, condition: str) -> str:
        kind = condition.partition(",")[0].upper()
        if "REGEX" in kind or kind in ("AND", "OR", "NOT"):
            return ""
        if kind not in ABOUT_ADDRESSES:
            return self.pick(("", ",no-resolve", ",src")) if self.often(0.03) else ""
        source = (
            ",src"
            if self.often(0.25) and not any(word in condition for word in self.asking_processes)
            else ""
        )
        return ("" if self.resolves else ",no-resolve") + source

    def rule(self, named: list[str]) -> str:
        """Return a line with a target."""
        self.resolves = not self.mixed or self.often(0.5)
        if named and self.often(0.12):
            condition = self.condition(1)
            return f"SUB-RULE,({condition}{self.params(condition)}),{self.pick(named)}"
        condition = f"RULE-SET,{self.set_name()}" if self.often(0.06) else self.condition()
        target = self.chance.choices(
            (*TARGETS, *TCP_ONLY, "PASS", "REJECT"), (*([1] * len(TARGETS)), 1, 0.5, 0.7, 0.5)
        )[0]
        line = f"{condition},{target}{self.params(condition)}"
        return line.replace(",", " , ") if self.often(0.05) and "REGEX" not in line else line

    def listing(self) -> tuple[list[str], dict[str, list[str]]]:
        """Return a list and those that it calls by name; a list calls only those made before it."""
        named: dict[str, list[str]] = {}
        self.mixed = self.often(0.6)
        for order in range(self.chance.choice((0, 0, 1, 2, 3))):
            known = list(named)
            named[f"list{self.number}-{order}"] = [
                self.rule(known) for _ in range(self.chance.randint(1, 6))
            ] + [f"MATCH,{self.pick(TARGETS)}" for _ in range(self.often(0.2))]
        rules = [self.rule(list(named)) for _ in range(self.chance.randint(2, 24))]
        if self.often(0.97):
            rules.append(f"MATCH,{self.pick(TARGETS)}")
        return rules, named

    # ---- what lists refer to

    def items(self, behavior: str, resolves: bool) -> list[str]:
        """Return the items of a rule set; resolves: they may have names resolved."""
        count = self.chance.randint(1, 12)
        self.resolves = resolves
        self.mixed = False
        if behavior == "ipcidr":
            return [self.prefix() for _ in range(count)]
        if behavior == "classical":
            return [self.full(1, sets=False) for _ in range(count)]
        made = []
        for _ in range(count):
            labels = self.name().lower().rstrip(".").split(".")
            if self.often(0.3):
                labels[self.chance.randrange(len(labels))] = "*"
            made.append(self.pick(("", "", "+.", ".")) + ".".join(labels))
        return made

    def world(self, lists: int, flows: int) -> World:
        """Return a world with so many lists, and so many flows for each."""
        world = World()
        for site in SITES:
            world.sites[site] = [self.site_item() for _ in range(self.chance.randint(1, 12))]
            world.sites[site] += [(3, f"{mark}.{site}.example", (mark,)) for mark in MARKS]
        for country in COUNTRIES:
            world.countries[country] = [self.network() for _ in range(self.chance.randint(1, 12))]
        for system in SYSTEMS:
            world.systems[system] = [self.network() for _ in range(self.chance.randint(1, 8))]
        for behavior in ("domain", "ipcidr", "classical"):
            for number in range(6):
                resolves = number % 2 == 0
                name = f"{behavior}-{'resolves' if resolves else 'plain'}-{number}"
                world.sets[name] = (behavior, self.items(behavior, resolves))
        self.sets = tuple(world.sets)
        for name, (_, items) in world.sets.items():
            if any("PROCESS" in item.upper() or "UID" in item.upper() for item in items):
                self.asking_processes.append(name)
        used: set[str] = set()  # sources: it is by its source that a flow is found in the log
        for number in range(lists):
            self.number = number
            rules, named = self.listing()
            world.lists.append(rules)
            world.named.update(named)
            if self.often(0.15):
                world.closed.append(number)
            for order in range(flows):
                flow = self.flow(number, order, world)
                while flow.key in used:
                    flow = self.flow(number, order, world)
                used.add(flow.key)
                world.flows.append(flow)
        return world

    def network(self) -> str:
        return str(ipaddress.ip_network(self.prefix(), strict=False))

    def site_item(self) -> tuple[int, str, tuple[str, ...]]:
        kind = self.chance.randrange(4)
        marks = tuple(mark for mark in MARKS if self.often(0.3))
        if kind == 0:
            return kind, self.pick(WORDS), marks
        return kind, self.pick(EXPRESSIONS) if kind == 1 else self.host(), marks

    def flow(self, number: int, order: int, world: World) -> Sent:
        """Return a flow; order makes its source unlike all others of the list."""
        via = self.chance.choices(("socks5", "socks4", "http", "https", "udp"), (5, 1, 2, 2, 3))[0]
        host = self.host() if self.often(0.65) else ""
        address = "" if host else self.address()
        if via == "socks4" and (":" in address or number in world.closed):  # SOCKS 4 knows no passwords
            via = "socks5"
        if host and host not in world.addresses:
            world.addresses[host] = self.resolved()
        source = ipaddress.ip_address(self.pick(SOURCES))
        # A source of its own for each flow, and still in the prefixes that rules name.
        port = (
            self.pick(PORTS) if self.often(0.3) else self.chance.randint(1024, 19000)
        )  # mihomo listens above
        spread = number * 64 + order if source.version == 4 else self.chance.getrandbits(40)
        if str(source) not in ("127.0.0.1", "::1"):
            source = type(source)(int(source) ^ (spread % 251 if source.version == 4 else spread))
        return Sent(
            number,
            via,
            str(source),
            port,
            host,
            address,
            self.pick(PORTS) if self.often(0.8) else self.chance.randint(1, 65535),
            self.pick(USERS) if number in world.closed and via != "udp" else "",
            self.chance.randrange(len(SENDERS)),
        )

    def resolved(self) -> tuple[str, ...]:
        """Return the addresses of a name: of one version, of both, or none."""
        four = next(text for text in iter(self.address, "") if ":" not in text)
        six = next(text for text in iter(self.address, "") if ":" in text)
        return self.pick(((), (four,), (four,), (six,), (four, six)))
