"""The route part of sing-box's configuration: its rules, its rule sets, its outbounds' names."""

from typing import Final

from tunproxy.rules.model import Condition
from tunproxy.rulesets.convert.groups import group_of
from tunproxy.rulesets.convert.nodes import singbox_node
from tunproxy.rulesets.convert.report import Conversion, Source, rule_line
from tunproxy.rulesets.logic import all_of, any_of, entries, negated
from tunproxy.rulesets.notes import broken
from tunproxy.rulesets.sing_json import decode_json
from tunproxy.rulesets.sing_rule import Unusable, understood

MAX_DEPTH: Final = 32

_GROUPS: Final = ("selector", "urltest")
_OF_GROUPS: Final = ("tag", "type", "outbounds")
_TAKEN: Final = frozenset(("outbounds", "endpoints", "route", "log", "$schema"))

# Fields with a rule of ours for each value: (type, parameters).
_PLACES: Final = {
    "rule_set": ("RULE-SET", ("no-resolve",)), "geosite": ("GEOSITE", ()),
    "geoip": ("GEOIP", ("no-resolve",)),
}  # fmt: skip
_OTHERS: Final = {
    "source_geoip": ("SRC-GEOIP", ()), "inbound": ("IN-NAME", ()), "auth_user": ("IN-USER", ()),
    "user_id": ("UID", ()),
}  # fmt: skip
_SET_PLACE: Final = frozenset(("domain", "domain_suffix", "domain_keyword", "domain_regex", "ip_cidr"))
_SET_OTHERS: Final = frozenset((
    "network", "source_ip_cidr", "source_port", "source_port_range", "port", "port_range", "process_name",
    "process_path", "process_path_regex",
))  # fmt: skip
_ABOUT: Final = frozenset((
    "type", "mode", "rules", "invert", "outbound", "action", "rule_set_ip_cidr_match_source",
    "rule_set_ipcidr_match_source", "method", "no_drop",
))  # fmt: skip
_NO_VERDICT: Final = {
    "sniff": "flows are looked into where a rule needs it",
    "resolve": "names are resolved where a rule needs it",
    "hijack-dns": "port 53 is answered anyway",
    "route-options": "it decides nothing",
    "bypass": "nothing can leave the device again",
}


def convert_singbox(data: bytes, name: str) -> Conversion:
    """Return the rules of a configuration; raises RuleError for what is no JSON object."""
    root = decode_json(data, name)
    if not isinstance(root, dict):
        raise broken(name, "not a configuration (an object with `route` is expected)")
    route = root.get("route", root)
    if not isinstance(route, dict):
        raise broken(name, "not a configuration (`route` is no object)")
    result = Conversion(name)
    targets = _outlets(result, root)
    if "route" in root:
        result.others += [str(key) for key in root if key not in _TAKEN]
    for entry in _list(route.get("rule_set")):
        _add_source(result, entry)
    for number, rule in enumerate(_list(route.get("rules"))):
        text = f"rules[{number}]"
        try:
            _add_rule(result, rule, text, targets)
        except Unusable as error:
            result.drop(text, 1, str(error))
    final = route.get("final")
    if isinstance(final, str) and final:
        result.add("final", 1, [f"MATCH,{targets.get(final, final)}"])
    elif result.outlets or targets:
        first = next(
            (str(entry.get("tag", "")) for entry in _list(root.get("outbounds")) if isinstance(entry, dict)),
            "",
        )
        result.add(
            "final", 1, [f"MATCH,{targets.get(first, first)}"], "the first outbound is what sing-box takes"
        )
    return result


def _outlets(result: Conversion, root: dict[str, object]) -> dict[str, str]:
    """Return our names for outbounds that we have ourselves; add the others to the result."""
    targets = {}
    for entry in [*_list(root.get("outbounds")), *_list(root.get("endpoints"))]:
        if not isinstance(entry, dict) or not isinstance(entry.get("tag"), str):
            continue
        kind = entry.get("type")
        if kind in ("direct", "block"):
            targets[entry["tag"]] = "DIRECT" if kind == "direct" else "REJECT"
        else:
            members = tuple(str(member) for member in _list(entry.get("outbounds")))
            keys = {key: value for key, value in entry.items() if key not in _OF_GROUPS}
            result.outlets.append(
                group_of(entry["tag"], str(kind), members, keys)
                if kind in _GROUPS
                else singbox_node(entry["tag"], entry)
            )
    result.aliases.update(targets)
    return targets


def _add_source(result: Conversion, entry: object) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("tag"), str):
        result.drop("rule_set", 1, "a rule set without a tag")
        return
    kind = entry.get("type", "inline")
    text = f"rule_set {entry['tag']}"
    location = entry.get("path" if kind == "local" else "url", "")
    if kind == "inline":
        lines: list[str] = []
        for rule in _list(entry.get("rules")):
            try:
                lines += [rule_line(found, "").removesuffix(",") for found in entries(understood(rule, 0))]
            except Unusable as error:
                result.drop(text, 1, str(error))
        result.sources.append(Source(entry["tag"], "inline", "text", "classical", "", tuple(lines)))
    elif kind in ("local", "remote") and isinstance(location, str) and location:
        form = entry.get("format") or ("json" if location.endswith(".json") else "binary")
        ours = "srs" if form == "binary" else "json"
        result.sources.append(
            Source(entry["tag"], "file" if kind == "local" else "http", ours, "classical", location)
        )
    else:
        result.drop(text, 1, f"unknown type {kind!r}, or it has no place")


def _add_rule(result: Conversion, rule: object, text: str, targets: dict[str, str]) -> None:
    if not isinstance(rule, dict):
        raise Unusable("not an object")
    action = rule.get("action", "route")
    if action in _NO_VERDICT:
        raise Unusable(f"{action}: {_NO_VERDICT[action]}")
    why = ""
    if action == "reject":
        target = "REJECT-DROP" if rule.get("method") == "drop" else "REJECT"
    elif action == "route" and isinstance(rule.get("outbound"), str):
        target = targets.get(str(rule["outbound"]), str(rule["outbound"]))
    else:
        raise Unusable(f"unknown action {action!r}, or it has no outbound")
    alternatives, needed = _parts(rule, 0)
    if _list(rule.get("rule_set")) and (needed or len(alternatives) > len(_list(rule.get("rule_set")))):
        why = "sing-box lets fields of the rule and of its rule sets stand in for each other"
    if rule.get("rule_set_ip_cidr_match_source") or rule.get("rule_set_ipcidr_match_source"):
        raise Unusable("rule sets that are compared with the source")
    if needed or rule.get("invert"):
        conditions = ([any_of(alternatives)] if alternatives else []) + needed
        whole = all_of(conditions)
        alternatives = [negated(whole) if rule.get("invert") else whole]
    result.add(text, 1, [rule_line(condition, target) for condition in alternatives], why)


def _parts(rule: dict[str, object], depth: int) -> tuple[list[Condition], list[Condition]]:
    """Return conditions of which one must be met, and those that all must be; without `invert`."""
    if depth > MAX_DEPTH:
        raise Unusable(f"rules are nested more than {MAX_DEPTH} deep")
    if rule.get("type") == "logical":
        parts = [_whole(part, depth + 1) for part in _list(rule.get("rules"))]
        if not parts or rule.get("mode") not in ("and", "or"):
            raise Unusable("a logical rule needs a mode, `and` or `or`, and rules")
        return (parts, []) if rule["mode"] == "or" else ([], parts)
    known = _ABOUT | _SET_PLACE | _SET_OTHERS | set(_PLACES) | set(_OTHERS)
    known |= {"ip_is_private", "source_ip_is_private", "ip_version"}
    for key, value in rule.items():
        if key not in known and value not in (None, [], "", False):
            raise Unusable(f"{key} is nothing that our rules ask for")
    places = _of_set(rule, _SET_PLACE)
    for key, (kind, params) in _PLACES.items():
        places += [Condition(kind, _text(value), params) for value in _list(rule.get(key))]
    if rule.get("ip_is_private"):
        places.append(Condition("GEOIP", "LAN", ("no-resolve",)))
    needed = _of_set(rule, _SET_OTHERS)
    for key, (kind, params) in _OTHERS.items():
        values = [Condition(kind, _text(value), params) for value in _list(rule.get(key))]
        if values:
            needed.append(any_of(values))
    if rule.get("source_ip_is_private"):
        needed.append(Condition("SRC-GEOIP", "LAN"))
    if rule.get("ip_version"):
        prefix = "::/0" if rule["ip_version"] == 6 else "0.0.0.0/0"
        needed.append(Condition("IP-CIDR", prefix, ("no-resolve",)))
    if not places and not needed:
        raise Unusable("it has no condition")
    return places, needed


def _of_set(rule: dict[str, object], keys: frozenset[str]) -> list[Condition]:
    """Return what the fields that rule sets have as well ask."""
    fields = {key: value for key, value in rule.items() if key in keys and value not in (None, [], "")}
    return entries(understood(fields, 0)) if fields else []


def _whole(rule: object, depth: int) -> Condition:
    """Return a rule within a logical one as one condition."""
    if not isinstance(rule, dict):
        raise Unusable("not an object")
    alternatives, needed = _parts(rule, depth)
    condition = all_of(([any_of(alternatives)] if alternatives else []) + needed)
    return negated(condition) if rule.get("invert") else condition


def _text(value: object) -> str:
    if isinstance(value, str) and value and "," not in value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Unusable(f"{value!r} is no name")


def _list(value: object) -> list:  # type: ignore[type-arg]  # whatever JSON brings
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]
