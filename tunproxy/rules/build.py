"""Conditions become matchers, and contents of rule sets become sets that are asked fast."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from unicodedata import normalize

from tunproxy.rules import ports, texts
from tunproxy.rules.domains import DomainSet
from tunproxy.rules.expressions import Expression
from tunproxy.rules.facts import Always, Matcher
from tunproxy.rules.kinds import NO_CUSTOM, NO_RESOLVE, SRC, CustomKinds, address_and_bits, prefix_of
from tunproxy.rules.logic import AllOf, AnyOf, Not
from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rules.moments import InWindow, parse_windows
from tunproxy.rules.owners import InCgroup, InUnit
from tunproxy.rules.ports import NumberIn, parse_numbers
from tunproxy.rules.prefixes import AddressSet, EndsLike, InRanges
from tunproxy.rules.regex_syntax import RegexError
from tunproxy.rules.regexes import compile_regex
from tunproxy.rules.sets import CompiledSet, InSet
from tunproxy.rules.texts import Contains, Found, Like, OneOf, SuffixOf

# Go's net/netip: private, unspecified, loopback, multicast, link-local. What GEOIP,LAN means.
LAN = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4",
    "169.254.0.0/16", "fc00::/7", "::/128", "::1/128", "ff00::/8", "fe80::/10",
)  # fmt: skip

NUMBER_FIELDS = {
    "DST-PORT": ports.TARGET_PORT,
    "SRC-PORT": ports.SOURCE_PORT,
    "IN-PORT": ports.IN_PORT,
    "DSCP": ports.DSCP,
    "UID": ports.UID,
}
WORD_FIELDS = {
    "DOMAIN": texts.HOST,
    "PROCESS-NAME": texts.PROCESS_NAME,
    "PROCESS-PATH": texts.PROCESS_PATH,
    "NETWORK": texts.NETWORK,
    "IN-USER": texts.IN_USER,
    "IN-NAME": texts.IN_NAME,
    "REMATCH-NAME": texts.REMATCH_NAME,
}
PATTERN_FIELDS = {
    "DOMAIN-WILDCARD": texts.HOST,
    "PROCESS-NAME-WILDCARD": texts.PROCESS_NAME,
    "PROCESS-PATH-WILDCARD": texts.PROCESS_PATH,
    "APP": texts.APP,
}
REGEX_FIELDS = {
    "DOMAIN-REGEX": texts.HOST,
    "PROCESS-NAME-REGEX": texts.PROCESS_NAME,
    "PROCESS-PATH-REGEX": texts.PROCESS_PATH,
}
ADDRESS_KINDS = frozenset({"IP-CIDR", "IP-CIDR6", "SRC-IP-CIDR"})
MAX_LABEL = 63  # RFC 1035 §2.3.4
SET_KINDS = frozenset({"RULE-SET", "GEOSITE", "GEOIP", "SRC-GEOIP", "IP-ASN", "SRC-IP-ASN"})


class UnknownSet(Exception):
    """A condition names a rule set that is not there."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"unknown rule set {name!r}")


@dataclass(slots=True)
class Gathered:
    """The entries of a rule set by how they are asked; what is alike is asked together."""

    exact: list[str]
    suffix: list[str]
    keyword: list[str]
    regex: list[str]
    ranges: list[tuple[int, int, int]]
    # By whether the source is meant and whether nothing is resolved.
    other_ranges: dict[tuple[bool, bool], list[tuple[int, int, int]]] = field(default_factory=dict)
    numbers: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    rest: list[Condition] = field(default_factory=list)


def set_name(condition: Condition) -> str:
    """Return under which name rule_sets has what condition asks for; "" for what needs no set.

    `RULE-SET,x` is x, `GEOSITE,!cn@ads` is geosite:cn@ads, `GEOIP,cn` geoip:cn, `IP-ASN,13335` asn:13335.
    """
    payload = condition.payload.lower().removeprefix("!")
    kind = condition.kind.removeprefix("SRC-")
    if kind == "RULE-SET":
        return condition.payload
    if kind == "GEOSITE":
        return f"geosite:{payload}"
    if kind == "GEOIP":
        return "" if payload == "lan" else f"geoip:{payload}"
    return f"asn:{payload}" if kind == "IP-ASN" else ""


def ascii_name(name: str) -> str:
    """Return a host name in lower case, with its labels in Punycode where they need it (RFC 5891 §4.4)."""
    lower = name.lower()
    if lower.isascii():
        return lower
    labels = [ascii_label(label) for label in normalize("NFC", lower).split(".")]
    return ".".join(labels) if max(map(len, labels)) <= MAX_LABEL else lower  # no host has such a name


def ascii_label(label: str) -> str:
    """Return one lower-case label, in Punycode where it needs it; `ß` stays what it is (RFC 5894 §7.2)."""
    return label if label.isascii() else "xn--" + label.encode("punycode").decode()


def range_of(payload: str) -> tuple[int, int, int]:
    """Return the addresses of a CIDR prefix as (version, first, last)."""
    network = prefix_of(payload)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:  # flows to such addresses go by their IPv4 address
        first = int(mapped)
        return 4, first, first + network.num_addresses - 1
    return network.version, int(network.network_address), int(network.broadcast_address)


class Builder:
    """Makes matchers; each rule set is compiled once, when a condition first asks for it.

    custom are the types of rules that are not built in.
    """

    def __init__(self, rule_sets: Mapping[str, RuleSetContent], custom: CustomKinds = NO_CUSTOM) -> None:
        self.rule_sets = rule_sets
        self.custom = custom
        self.skipped: list[str] = []  # entries of rule sets that could not be used, and why
        self._sets: dict[str, CompiledSet] = {}
        self._lan = AddressSet([range_of(prefix) for prefix in LAN])

    def matcher(self, condition: Condition) -> Matcher:
        """Return condition as a matcher; raises UnknownSet."""
        kind, payload = condition.kind, condition.payload
        if kind == "AND":
            return AllOf([self.matcher(child) for child in condition.children])
        if kind == "OR":
            return AnyOf([self.matcher(child) for child in condition.children])
        if kind in ("NOT", "SUB-RULE"):
            inner = self.matcher(condition.children[0])
            return Not(inner) if kind == "NOT" else inner
        if kind in SET_KINDS:
            return self._of_set(condition)
        if kind in NUMBER_FIELDS:
            return NumberIn(NUMBER_FIELDS[kind], parse_numbers(payload))
        if kind in PATTERN_FIELDS:
            return Like(PATTERN_FIELDS[kind], payload)
        if kind in REGEX_FIELDS:
            return Found(REGEX_FIELDS[kind], compile_regex(payload))
        if kind in WORD_FIELDS:
            return OneOf(WORD_FIELDS[kind], words_of(condition))
        source, no_resolve = params_of(condition)
        if kind in ADDRESS_KINDS:
            return InRanges(AddressSet([range_of(payload)]), source, no_resolve)
        if kind in ("IP-SUFFIX", "SRC-IP-SUFFIX"):
            address, bits = address_and_bits(payload)
            return EndsLike(address, bits, source, no_resolve)
        simple: dict[str, Callable[[], Matcher]] = {
            "MATCH": Always,
            "DOMAIN-SUFFIX": lambda: SuffixOf(ascii_name(payload)),
            "DOMAIN-KEYWORD": lambda: Contains(payload),
            "IN-TYPE": lambda: OneOf(texts.IN_TYPE, in_types(payload)),
            "UNIT": lambda: InUnit(payload),
            "CGROUP": lambda: InCgroup(payload),
            "TIME": lambda: InWindow(parse_windows(payload)),
        }
        return simple[kind]() if kind in simple else self.custom[kind].matcher(payload)

    def _of_set(self, condition: Condition) -> Matcher:
        source, no_resolve = params_of(condition)
        negated = condition.payload.startswith("!") and condition.kind != "RULE-SET"
        name = set_name(condition)
        if not name:
            return InRanges(self._lan, source, no_resolve, negated)
        members = self.members(name)
        if condition.kind in ("RULE-SET", "GEOSITE"):
            return InSet(members, source, no_resolve, negated)
        return InRanges(members.addresses, source, no_resolve, negated)

    def members(self, name: str) -> CompiledSet:
        """Return the set of that name, compiled; raises UnknownSet."""
        if name not in self._sets:
            if name not in self.rule_sets:
                raise UnknownSet(name)
            self._sets[name] = self._compiled(name, self.rule_sets[name])
        return self._sets[name]

    def _compiled(self, name: str, content: RuleSetContent) -> CompiledSet:
        entries = gather(content)
        matchers: list[Matcher] = []
        for (source, no_resolve), ranges in entries.other_ranges.items():
            matchers.append(InRanges(AddressSet(ranges), source, no_resolve))
        for kind, numbers in entries.numbers.items():
            matchers.append(NumberIn(NUMBER_FIELDS[kind], numbers))
        for kind, words in entries.words.items():
            matchers.append(OneOf(WORD_FIELDS[kind], words))
        for condition in entries.rest:
            try:
                matchers.append(self.matcher(condition))
            except UnknownSet as error:
                self.skipped.append(f"{name}: {condition.kind},{condition.payload}: {error}")
        regexes: list[Expression] = []
        for text in entries.regex:
            try:
                regexes.append(compile_regex(text))
            except RegexError as error:
                self.skipped.append(f"{name}: expression {text!r}: {error}")
        domains = DomainSet(entries.exact, entries.suffix, content.below, content.wildcard)
        addresses = AddressSet(entries.ranges)
        return CompiledSet(domains, entries.keyword, regexes, addresses, matchers, content.tries)


def gather(content: RuleSetContent) -> Gathered:
    """Return a set's entries by how they are asked; lists of names are shared with content, not copied."""
    result = Gathered(content.exact, content.suffix, content.keyword, content.regex, content.ranges)
    if not content.conditions:
        return result
    result = Gathered(
        list(content.exact),
        list(content.suffix),
        list(content.keyword),
        list(content.regex),
        list(content.ranges),
    )
    for condition in content.conditions:
        kind, payload = condition.kind, condition.payload
        if kind == "DOMAIN":
            result.exact.append(ascii_name(payload))
        elif kind == "DOMAIN-SUFFIX":
            result.suffix.append(ascii_name(payload))
        elif kind == "DOMAIN-KEYWORD":
            result.keyword.append(payload.lower())
        elif kind == "DOMAIN-REGEX":
            result.regex.append(payload)
        elif kind in ADDRESS_KINDS:
            wanted = params_of(condition)
            other = result.other_ranges.setdefault(wanted, []) if any(wanted) else result.ranges
            other.append(range_of(payload))
        elif kind in NUMBER_FIELDS:
            result.numbers.setdefault(kind, []).extend(parse_numbers(payload))
        elif kind in WORD_FIELDS:
            result.words.setdefault(kind, []).extend(words_of(condition))
        else:
            result.rest.append(condition)
    return result


def params_of(condition: Condition) -> tuple[bool, bool]:
    """Return whether condition is about the source, and whether it resolves nothing."""
    source = SRC in condition.params or condition.kind.startswith("SRC-")
    return source, NO_RESOLVE in condition.params


def words_of(condition: Condition) -> list[str]:
    """Return the words, any of which the text may be."""
    if condition.kind == "DOMAIN":
        return [ascii_name(condition.payload)]
    if condition.kind in ("IN-USER", "IN-NAME", "REMATCH-NAME"):
        return [word.strip() for word in condition.payload.split("/")]
    return [condition.payload]


def in_types(payload: str) -> list[str]:
    """Return the inbound types of `SOCKS/HTTP`; SOCKS is both its versions."""
    words = [word.strip().upper() for word in payload.split("/")]
    return [*words, "SOCKS4", "SOCKS5"] if "SOCKS" in words else words
