"""Rule sets as Clash's rule providers: text, yaml, and .mrs."""

import struct

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.behaviors import CLASSICAL, DOMAIN, IPCIDR
from tunproxy.rulesets.items import MAPPED, prefixes_of
from tunproxy.rulesets.logic import entries, rule_text
from tunproxy.rulesets.louds import write_keys
from tunproxy.rulesets.mrs import DOMAIN_CODE, FORM, IPCIDR_CODE, MAGIC
from tunproxy.rulesets.unfold import unfolded
from tunproxy.rulesets.unpack import pack_zstd


def items_of(content: RuleSetContent, behavior: str) -> tuple[list[str], int]:
    """Return the items of a provider with this behavior, and how many entries it cannot hold."""
    if behavior == CLASSICAL:
        return [rule_text(condition) for condition in entries(content)], 0
    content = unfolded(content)
    names = [f"+.{name}" for name in content.suffix] + [f".{name}" for name in content.below]
    names += content.exact + content.wildcard
    others = len(content.keyword) + len(content.regex) + len(content.conditions)
    if behavior == DOMAIN:
        return names, others + len(content.ranges)
    return [prefix for found in content.ranges for prefix in prefixes_of(found)], others + len(names)


def write_text(content: RuleSetContent, behavior: str) -> tuple[bytes, int]:
    """Return the set in format text, and how many entries are missing in it."""
    items, missing = items_of(content, behavior)
    return "".join(f"{item}\n" for item in items).encode(), missing


def write_yaml(content: RuleSetContent, behavior: str) -> tuple[bytes, int]:
    """Return the set in format yaml, and how many entries are missing in it."""
    items, missing = items_of(content, behavior)
    quoted = [item.replace("'", "''") for item in items]
    return ("payload:\n" + "".join(f"  - '{item}'\n" for item in quoted)).encode(), missing


def write_mrs(content: RuleSetContent, behavior: str) -> tuple[bytes, int]:
    """Return the set as .mrs, behavior domain or ipcidr, and how many entries are missing in it."""
    items, missing = items_of(content, behavior)
    if behavior == IPCIDR:
        body = _ranges(content.ranges)
        return pack_zstd(_head(IPCIDR_CODE, len(content.ranges)) + body), missing
    if behavior != DOMAIN:
        raise ValueError(f".mrs has no behavior {behavior!r}")
    keys = set(items)
    # Clash's `+.x` is stored as `x` and `+.x`, its `.x` as `+.x` alone.
    for item in items:
        if item.startswith("+."):
            keys.add(item[2:])
        elif item.startswith("."):
            keys.discard(item)
            keys.add("+" + item)
    leaves, bitmap, labels = write_keys(sorted(keys))
    body = bytes([FORM])
    for words in (leaves, bitmap):
        body += struct.pack(f">q{len(words)}Q", len(words), *words)
    body += struct.pack(">q", len(labels)) + labels
    return pack_zstd(_head(DOMAIN_CODE, len(items)) + body), missing


def _head(code: int, count: int) -> bytes:
    return MAGIC + bytes([code]) + struct.pack(">qq", count, 0)


def _ranges(ranges: list[tuple[int, int, int]]) -> bytes:
    """Return the ranges, in order and joined where they meet."""
    joined: list[tuple[int, int]] = []
    for version, first, last in ranges:
        lift = MAPPED << 32 if version == 4 else 0
        joined.append((lift | first, lift | last))
    joined.sort()
    merged: list[tuple[int, int]] = []
    for first, last in joined:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    body = b"".join(first.to_bytes(16, "big") + last.to_bytes(16, "big") for first, last in merged)
    return bytes([FORM]) + struct.pack(">q", len(merged)) + body
