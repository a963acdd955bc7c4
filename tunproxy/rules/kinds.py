"""The kinds of rules: how each is written, and which payloads are wrong or can never match."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tunproxy.rules.facts import Matcher
from tunproxy.rules.model import Condition
from tunproxy.rules.moments import parse_windows
from tunproxy.rules.ports import HIGHEST, parse_numbers
from tunproxy.rules.regexes import compile_regex

NO_RESOLVE = "no-resolve"
SRC = "src"
PARAMS = (NO_RESOLVE, SRC)
# Parameters of other programs' rules that change nothing here; a rule keeps them, with a warning.
FOREIGN_PARAMS = frozenset({"force-remote-dns", "extended-matching", "pre-matching", "enhanced-mode"})

NETWORKS = ("tcp", "udp", "icmp")
IN_TYPES = (
    "HTTP", "HTTPS", "SOCKS", "SOCKS4", "SOCKS5", "SHADOWSOCKS", "SNELL", "VMESS", "VLESS", "REDIR", "TPROXY",
    "TROJAN", "TUNNEL", "TUN", "TUIC", "HYSTERIA2", "ANYTLS", "MIERU", "SUDOKU", "TRUSTTUNNEL", "INNER",
)  # fmt: skip

# What other programs call it, for "did you mean".
ELSEWHERE = {
    "FINAL": "MATCH",
    "DOMAIN-SET": "RULE-SET",
    "HOST": "DOMAIN",
    "HOST-SUFFIX": "DOMAIN-SUFFIX",
    "HOST-KEYWORD": "DOMAIN-KEYWORD",
    "IP6-CIDR": "IP-CIDR6",
    "DEST-PORT": "DST-PORT",
    "PORT": "DST-PORT",
    "SRC-IP": "SRC-IP-CIDR",
    "PROTOCOL": "NETWORK",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a type of rule is written; check raises ValueError where the payload is wrong."""

    check: Callable[[str], object]
    joined: bool = False  # the payload may have commas, so there are no parameters
    about_addresses: bool = False  # parameters have a meaning
    nested: bool = False  # the payload is other conditions


def _any(text: str) -> None:
    """Take every payload."""


def _filled(text: str) -> None:
    if not text:
        raise ValueError("payload is empty")


def prefix_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return a CIDR prefix; bits beyond its length do not matter. Raises ValueError."""
    _split_prefix(text)
    return ipaddress.ip_network(text, strict=False)


def address_and_bits(text: str) -> tuple[bytes, int]:
    """Return the address and the number of `8.8.8.8/24`. Raises ValueError."""
    address, bits = _split_prefix(text)
    return address.packed, bits


def _split_prefix(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    head, slash, tail = text.partition("/")
    try:
        address = ipaddress.ip_address(head)
    except ValueError:
        raise ValueError(f"{text!r} is no address with a prefix length") from None
    whole = 32 if address.version == 4 else 128
    if not slash:
        raise ValueError(f"{text!r} has no prefix length (write {text}/{whole})")
    if "%" in head or not (
        tail.isascii() and tail.isdigit() and str(int(tail[:4])) == tail and int(tail) <= whole
    ):
        raise ValueError(f"prefix length {tail!r} is not within 0 to {whole}")
    return address, int(tail)


def _regex(text: str) -> None:
    _filled(text)
    compile_regex(text)


def _asn(text: str) -> None:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f"{text!r} is no number of an autonomous system (write 13335)")


def _dscp(text: str) -> None:
    if any(last > HIGHEST["DSCP"] for _, last in parse_numbers(text)):
        raise ValueError(f"{text!r} is not within 0 to {HIGHEST['DSCP']}")


def _network(text: str) -> None:
    if text.lower() not in NETWORKS:
        raise ValueError(f"unknown network {text!r} (tcp, udp, icmp)")


def _in_type(text: str) -> None:
    for word in text.split("/"):
        if word.strip().upper() not in IN_TYPES:
            raise ValueError(f"unknown inbound type {word.strip()!r} (such as TUN, SOCKS, HTTP)")


def _words(text: str) -> None:
    if not all(word.strip() for word in text.split("/")):
        raise ValueError(f"{text!r} has an empty part")


NAME = Kind(_filled)
ADDRESS = Kind(prefix_of, about_addresses=True)
ASN = Kind(_asn, about_addresses=True)
COUNTRY = Kind(_filled, about_addresses=True)
NUMBERS = Kind(parse_numbers)
REGEX = Kind(_regex, joined=True)
NESTED = Kind(_any, joined=True, nested=True)

KINDS: dict[str, Kind] = {
    "DOMAIN": NAME,
    "DOMAIN-SUFFIX": NAME,
    "DOMAIN-KEYWORD": NAME,
    "DOMAIN-WILDCARD": NAME,
    "DOMAIN-REGEX": REGEX,
    "GEOSITE": Kind(_filled),
    "GEOIP": COUNTRY,
    "SRC-GEOIP": COUNTRY,
    "IP-CIDR": ADDRESS,
    "IP-CIDR6": ADDRESS,
    "SRC-IP-CIDR": ADDRESS,
    "IP-SUFFIX": Kind(address_and_bits, about_addresses=True),
    "SRC-IP-SUFFIX": Kind(address_and_bits, about_addresses=True),
    "IP-ASN": ASN,
    "SRC-IP-ASN": ASN,
    "DST-PORT": NUMBERS,
    "SRC-PORT": NUMBERS,
    "IN-PORT": NUMBERS,
    "IN-TYPE": Kind(_in_type),
    "IN-USER": Kind(_words),
    "IN-NAME": Kind(_words),
    "REMATCH-NAME": Kind(_words),
    "PROCESS-NAME": NAME,
    "PROCESS-NAME-WILDCARD": NAME,
    "PROCESS-NAME-REGEX": REGEX,
    "PROCESS-PATH": NAME,
    "PROCESS-PATH-WILDCARD": NAME,
    "PROCESS-PATH-REGEX": REGEX,
    "UID": NUMBERS,
    "NETWORK": Kind(_network),
    "DSCP": Kind(_dscp),
    "RULE-SET": Kind(_filled, about_addresses=True),
    "UNIT": Kind(_filled),
    "CGROUP": Kind(_filled),
    "APP": Kind(_filled),
    "TIME": Kind(parse_windows),
    "AND": NESTED,
    "OR": NESTED,
    "NOT": NESTED,
    "SUB-RULE": NESTED,
    "MATCH": Kind(_any),
}


class CustomKind(Protocol):
    """A kind of rule that is not built in: somebody else knows what its payload means."""

    @property
    def kind(self) -> Kind:
        """How it is written; neither joined, nor nested, nor about addresses."""

    def matcher(self, payload: str) -> Matcher:
        """Return what flows are asked with; raises ValueError where the payload is wrong."""


CustomKinds = Mapping[str, CustomKind]
NO_CUSTOM: Final[CustomKinds] = {}


def kind_of(name: str) -> Kind:
    """Return the kind of a condition that has been read: one that is not built in is as plain as a name's."""
    return KINDS.get(name, NAME)


def why_never(condition: Condition) -> str:
    """Return why condition, though it is well-formed, can never match; "" if it can."""
    kind, payload = condition.kind, condition.payload
    if kind_of(kind).nested or kind == "MATCH" or kind not in KINDS:
        return ""
    if not payload:
        return "an empty payload matches nothing"
    if kind in ("DOMAIN", "DOMAIN-SUFFIX"):
        return _why_no_name(kind, payload)
    if kind == "DOMAIN-KEYWORD" and not payload.isascii():
        return "names are ASCII, with other letters in Punycode (xn--)"
    if kind in HIGHEST and all(first > HIGHEST[kind] for first, _ in parse_numbers(payload)):
        return f"{payload!r} is above {HIGHEST[kind]}, the highest there is"
    if kind.startswith("PROCESS-NAME") and "REGEX" not in kind and "/" in payload:
        return "a process's name has no slash (use PROCESS-PATH)"
    if kind == "PROCESS-PATH" and not payload.startswith("/"):
        return "a path starts with a slash (use PROCESS-NAME)"
    return ""


def _why_no_name(kind: str, name: str) -> str:
    if kind == "DOMAIN-SUFFIX" and name.startswith(("+.", "*.", ".")):
        return (
            f"a suffix has no {name[: name.index('.') + 1]!r} in front: it includes what is below it anyway"
        )
    if name.endswith("."):
        return "names are compared without the dot at the end"
    if "*" in name or "+" in name:
        return "the name has a wildcard, which only DOMAIN-WILDCARD understands"
    if "/" in name or ":" in name or " " in name:
        return "this is no host name"
    if name.startswith(".") or ".." in name:
        return "the name has an empty label"
    return ""
