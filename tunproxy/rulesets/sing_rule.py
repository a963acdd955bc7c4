"""One rule of a sing-box rule set, a dictionary, as an entry of a content.

A rule is met when (a name, keyword, expression or address fits) and (a port) and (the source address) and
(the source port) and every other field that it has; `invert` turns that round. Whatever is only about names
and addresses goes into the content's lists, everything else becomes a condition.
"""

from collections.abc import Callable
from typing import Final

from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rulesets.adguard_pattern import add_adguard
from tunproxy.rulesets.items import clean_name, expression_problem, parse_prefix
from tunproxy.rulesets.logic import all_of, any_of, entries, extend, negated, range_conditions
from tunproxy.rulesets.notes import Notes
from tunproxy.rulesets.subtract import subtract

MAX_DEPTH: Final = 32  # of logical rules in logical rules

# What is known of a phone's networks or of a DNS question is not known of our flows.
_NOT_OURS: Final = frozenset((
    "query_type", "package_name", "network_type", "network_is_expensive", "network_is_constrained",
    "network_interface_address", "default_interface_address", "wifi_ssid", "wifi_bssid", "package_name_regex",
))  # fmt: skip
_PLACE: Final = frozenset(
    ("domain", "domain_suffix", "domain_keyword", "domain_regex", "ip_cidr", "adguard_domain")
)
_OTHER: Final = frozenset((
    "network", "source_ip_cidr", "source_port", "source_port_range", "port", "port_range",
    "process_name", "process_path", "process_path_regex",
))  # fmt: skip
_ABOUT: Final = frozenset(("type", "invert"))


class Unusable(Exception):
    """A rule cannot be expressed; the text says why."""


def add_rule(content: RuleSetContent, rule: object, notes: Notes, where: str) -> None:
    """Add a rule, or note why it, or one of its names, is left out."""
    faults: list[str] = []
    try:
        extend(content, understood(rule, 0, faults))
    except Unusable as error:
        faults = [str(error)]
    for why in faults:
        notes.skip(1, 1, f"{where}: {why}")


def understood(rule: object, depth: int, faults: list[str] | None = None) -> RuleSetContent:
    """Return what the rule is met by; raises Unusable.

    A list of thousands of names is one rule: those that cannot be read are left out, and why is appended to
    faults. Without it, and where what is left out would make an inverted rule be met by more, one of them
    makes the whole rule unusable.
    """
    if not isinstance(rule, dict):
        raise Unusable("not an object")
    if depth > MAX_DEPTH:
        raise Unusable(f"rules are nested more than {MAX_DEPTH} deep")
    kind = rule.get("type", "") or "default"
    is_inverted = _is_true(rule, "invert")
    if is_inverted:
        faults = None
    if kind == "logical":
        found = _logical(rule, depth, faults)
    elif kind == "default":
        found = _default(rule, faults)
    else:
        raise Unusable(f"unknown type {kind!r} (known: default, logical)")
    return RuleSetContent(conditions=[negated(any_of(entries(found)))]) if is_inverted else found


def _logical(rule: dict[str, object], depth: int, faults: list[str] | None) -> RuleSetContent:
    mode = rule.get("mode")
    parts = rule.get("rules")
    if mode not in ("and", "or") or not isinstance(parts, list) or not parts:
        raise Unusable("a logical rule needs a mode, `and` or `or`, and rules")
    result = RuleSetContent()
    if mode == "or":
        for part in parts:
            extend(result, understood(part, depth + 1, faults))
        return result
    # `all but these` keeps its names where it can.
    wanted = [part for part in parts if not (isinstance(part, dict) and _is_true(part, "invert"))]
    unwanted = [part for part in parts if part not in wanted]
    if len(wanted) == 1 and unwanted:
        result = understood(wanted[0], depth + 1, faults)
        for part in unwanted:
            result = subtract(result, understood({**part, "invert": False}, depth + 1))
        if not entries(result):
            raise Unusable("nothing can meet it")
        return result
    return RuleSetContent(
        conditions=[all_of([any_of(entries(understood(part, depth + 1, faults))) for part in parts])]
    )


def _default(rule: dict[str, object], faults: list[str] | None) -> RuleSetContent:
    fields = {key for key, value in rule.items() if key not in _ABOUT and value not in (None, [], "", False)}
    for key in sorted(fields):
        if key in _NOT_OURS:
            raise Unusable(f"{key} is nothing that is known of a flow")
        if key not in _PLACE and key not in _OTHER:
            raise Unusable(f"unknown field {key!r}")
    place = _place(rule, faults)
    needed = _others(rule)
    if not needed:
        if not fields & _PLACE:
            raise Unusable("it has no condition")
        return place
    if fields & _PLACE:
        needed.insert(0, any_of(entries(place)))
    return RuleSetContent(conditions=[all_of(needed)])


def _place(rule: dict[str, object], faults: list[str] | None) -> RuleSetContent:
    """Return what the rule says about where a flow goes; raises Unusable where nothing of it can be read."""
    place = RuleSetContent()
    left_out: list[str] = []
    for text in _texts(rule, "domain"):
        _add_name(place.exact, text, left_out)
    for text in _texts(rule, "domain_suffix"):
        names = place.below if text.startswith(".") else place.suffix
        _add_name(names, text.removeprefix("."), left_out)
    place.keyword = [text.lower() for text in _texts(rule, "domain_keyword")]
    for text in _texts(rule, "domain_regex"):
        why = expression_problem(text)
        if why:
            left_out.append(why)
        else:
            place.regex.append(text)
    place.ranges = _ranges(rule, "ip_cidr")
    for text in _texts(rule, "adguard_domain"):
        why = add_adguard(place, text)
        if why:
            left_out.append(why)
    if left_out and (faults is None or place == RuleSetContent()):
        raise Unusable(left_out[0])
    if faults is not None:
        faults += left_out
    return place


def _add_name(names: list[str], text: str, left_out: list[str]) -> None:
    """Add a name, or why it is none to left_out."""
    name, why = clean_name(text)
    if why or "*" in name:
        left_out.append(why or f"{text!r} is no name")
    else:
        names.append(name)


def _others(rule: dict[str, object]) -> list[Condition]:
    """Return the conditions that must be met besides."""
    needed: list[Condition] = []
    sources = [
        part for found in _ranges(rule, "source_ip_cidr") for part in range_conditions(found, "SRC-IP-CIDR")
    ]
    if sources:
        needed.append(any_of(sources))
    for key, kind in (("port", "DST-PORT"), ("source_port", "SRC-PORT")):
        ports = [str(port) for port in _ports(rule, key)]
        ports += [_port_range(text) for text in _texts(rule, f"{key}_range")]
        if ports:
            needed.append(Condition(kind, "/".join(ports)))
    for key, kind, change in _WORDS:
        words = [Condition(kind, change(text)) for text in _texts(rule, key)]
        if words:
            needed.append(any_of(words))
    if [text for text in _texts(rule, "process_name") if _texts(rule, "process_path")]:
        # sing-box asks for a name or a path, not for both.
        paths, names = needed.pop(), needed.pop()
        needed.append(any_of([names, paths]))
    return needed


def _expression(text: str) -> str:
    why = expression_problem(text)
    if why:
        raise Unusable(why)
    return text


def _network(text: str) -> str:
    if text.lower() not in ("tcp", "udp", "icmp"):
        raise Unusable(f"unknown network {text!r}")
    return text.lower()


_WORDS: Final[tuple[tuple[str, str, Callable[[str], str]], ...]] = (
    ("network", "NETWORK", _network),
    ("process_path_regex", "PROCESS-PATH-REGEX", _expression),
    ("process_name", "PROCESS-NAME", str),
    ("process_path", "PROCESS-PATH", str),
)


def _ranges(rule: dict[str, object], key: str) -> list[tuple[int, int, int]]:
    ranges = []
    for item in _list(rule, key):
        found = item if isinstance(item, tuple) else parse_prefix(item) if isinstance(item, str) else None
        if found is None:
            raise Unusable(f"{key}: {item!r} is no address or prefix")
        ranges.append(found)
    return ranges


def _ports(rule: dict[str, object], key: str) -> list[int]:
    ports = []
    for item in _list(rule, key):
        if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item <= 65535:
            raise Unusable(f"{key}: {item!r} is no port")
        ports.append(item)
    return ports


def _port_range(text: str) -> str:
    """Return Clash's words for `1000:2000`, `:2000` or `1000:`."""
    first, colon, last = text.partition(":")
    ends = (first or "0", last or "65535")
    if not colon or not all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends):
        raise Unusable(f"{text!r} is no range of ports")
    return f"{int(ends[0])}-{int(ends[1])}"


def _texts(rule: dict[str, object], key: str) -> list[str]:
    texts = []
    for item in _list(rule, key):
        if not isinstance(item, str) or not item:
            raise Unusable(f"{key}: {item!r} is no text")
        texts.append(item)
    return texts


def _list(rule: dict[str, object], key: str) -> list[object]:
    """Return a field's values: it may be a list, a single value, or absent."""
    value = rule.get(key)
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _is_true(rule: dict[str, object], key: str) -> bool:
    value = rule.get(key, False)
    if not isinstance(value, bool):
        raise Unusable(f"{key}: {value!r} is neither true nor false")
    return value
