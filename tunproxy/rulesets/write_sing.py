"""Rule sets as sing-box's: JSON and .srs."""

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Final

from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rulesets.items import parse_prefix, prefixes_of
from tunproxy.rulesets.logic import pattern_condition
from tunproxy.rulesets.louds import write_keys
from tunproxy.rulesets.srs import (
    ADDRESS_ITEMS,
    BELOW_MARK,
    DOMAIN_ITEM,
    END,
    MAGIC,
    PORT_ITEMS,
    SUFFIX_MARK,
    TEXT_ITEMS,
)
from tunproxy.rulesets.unfold import unfolded

VERSION: Final = 2  # the lowest that has all that we write, so that old programs can read it

_FIELDS: Final = {
    "DOMAIN": "domain", "DOMAIN-SUFFIX": "domain_suffix", "DOMAIN-KEYWORD": "domain_keyword",
    "DOMAIN-REGEX": "domain_regex", "IP-CIDR": "ip_cidr", "IP-CIDR6": "ip_cidr",
    "SRC-IP-CIDR": "source_ip_cidr", "PROCESS-NAME": "process_name", "PROCESS-PATH": "process_path",
    "PROCESS-PATH-REGEX": "process_path_regex", "NETWORK": "network",
}  # fmt: skip
_PORTS: Final = {"DST-PORT": "port", "SRC-PORT": "source_port"}
_NUMBER_OF: Final = {
    field: number for table in (TEXT_ITEMS, PORT_ITEMS, ADDRESS_ITEMS) for number, field in table.items()
}


def rules_of(content: RuleSetContent) -> tuple[list[dict[str, object]], int]:
    """Return the set as rules, and how many entries sing-box has no rule for."""
    content = unfolded(content)
    main: dict[str, object] = {}
    suffix = content.suffix + [f".{name}" for name in content.below]
    regex = content.regex + [pattern_condition(pattern).payload for pattern in content.wildcard]
    prefixes = [prefix for found in content.ranges for prefix in prefixes_of(found)]
    for field, values in (
        ("domain", content.exact), ("domain_suffix", suffix), ("domain_keyword", content.keyword),
        ("domain_regex", regex), ("ip_cidr", prefixes),
    ):  # fmt: skip
        if values:
            main[field] = values
    rules = [main] if main else []
    missing = 0
    for condition in content.conditions:
        rule = rule_of(condition)
        if rule is None:
            missing += 1
        else:
            rules.append(rule)
    return rules, missing


def rule_of(condition: Condition) -> dict[str, object] | None:
    """Return a condition as a rule, or None where sing-box has none like it."""
    kind = condition.kind
    if "src" in condition.params:
        return None
    if kind in _FIELDS:
        value = condition.payload.lower() if kind == "NETWORK" else condition.payload
        return {_FIELDS[kind]: [value]}
    if kind in _PORTS:
        return _port_rule(_PORTS[kind], condition.payload)
    if kind not in ("AND", "OR", "NOT"):
        return None
    rules = [rule_of(child) for child in condition.children]
    if None in rules:
        return None
    rule: dict[str, object] = {"type": "logical", "mode": "or" if kind == "OR" else "and", "rules": rules}
    return {**rule, "invert": True} if kind == "NOT" else rule


def _port_rule(field: str, payload: str) -> dict[str, object] | None:
    ports: list[int] = []
    ranges: list[str] = []
    for part in payload.split("/"):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            return None
        if dash:
            ranges.append(f"{int(first)}:{min(int(last), 65535)}")
        elif int(first) <= 65535:
            ports.append(int(first))
    rule: dict[str, object] = {}
    if ports:
        rule[field] = ports
    if ranges:
        rule[f"{field}_range"] = ranges
    return rule or None


def write_sing_json(content: RuleSetContent) -> tuple[bytes, int]:
    """Return the set as JSON, and how many entries are missing in it."""
    rules, missing = rules_of(content)
    return json.dumps({"version": VERSION, "rules": rules}, indent=2).encode() + b"\n", missing


def write_srs(content: RuleSetContent) -> tuple[bytes, int]:
    """Return the set as .srs, and how many entries are missing in it."""
    rules, missing = rules_of(content)
    # The compiled form keeps ranges of addresses as they are.
    body = _uvarint(len(rules))
    for number, rule in enumerate(rules):
        body += _rule(rule, content.ranges if number == 0 and "ip_cidr" in rule else None)
    return MAGIC + bytes([VERSION]) + zlib.compress(body, 9), missing


def _rule(rule: dict[str, object], ranges: list[tuple[int, int, int]] | None = None) -> bytes:
    invert = bytes([1 if rule.get("invert") else 0])
    if rule.get("type") == "logical":
        rules = rule["rules"]
        assert isinstance(rules, list)
        mode = bytes([1 if rule["mode"] == "or" else 0])
        return b"\1" + mode + _uvarint(len(rules)) + b"".join(map(_rule, rules)) + invert
    body = b"\0"
    names = _names(rule)
    if names:
        body += bytes([DOMAIN_ITEM]) + names
    for field, values in rule.items():
        number = _NUMBER_OF.get(field)
        if number is None or not isinstance(values, list):
            continue
        body += bytes([number])
        if number in ADDRESS_ITEMS:
            body += _addresses(values if ranges is None else ranges)
        elif number in PORT_ITEMS:
            body += _uvarint(len(values)) + struct.pack(f">{len(values)}H", *values)
        else:
            body += _uvarint(len(values)) + b"".join(_octets(value.encode()) for value in values)
    return body + bytes([END]) + invert


def _names(rule: dict[str, object]) -> bytes:
    exact, suffix = rule.get("domain", []), rule.get("domain_suffix", [])
    assert isinstance(exact, list)
    assert isinstance(suffix, list)
    if not exact and not suffix:
        return b""
    keys = exact + [(BELOW_MARK if name[0] == "." else SUFFIX_MARK) + name for name in suffix]
    leaves, bitmap, labels = write_keys(keys)
    body = b"\1"
    for words in (leaves, bitmap):
        body += _uvarint(len(words)) + struct.pack(f">{len(words)}Q", *words)
    return body + _octets(labels)


def _addresses(values: Sequence[object]) -> bytes:
    """Return ranges, sorted and joined, as sing-box's sets of addresses are."""
    found: list[tuple[int, int, int]] = []
    for value in values:
        range_ = value if isinstance(value, tuple) else parse_prefix(str(value))
        if range_ is not None:
            found.append(range_)
    found.sort()
    merged: list[tuple[int, int, int]] = []
    for version, first, last in found:
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((version, first, last))
    body = b"\1" + struct.pack(">Q", len(merged))
    for version, first, last in merged:
        size = 4 if version == 4 else 16
        body += _octets(first.to_bytes(size, "big")) + _octets(last.to_bytes(size, "big"))
    return body


def _octets(data: bytes) -> bytes:
    return _uvarint(len(data)) + data


def _uvarint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
