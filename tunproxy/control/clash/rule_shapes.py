"""Rules as Clash shows them: types without hyphens, payloads as it spells them, hits and misses."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final  # Any: documents

from tunproxy.control.clash.moments import NEVER, UNKNOWN, written
from tunproxy.control.clash.proxy_shapes import clash_name

_WORDS: Final = {
    "IP-CIDR": "IPCIDR",
    "IP-CIDR6": "IPCIDR",
    "SRC-IP-CIDR": "SrcIPCIDR",
    "IP-SUFFIX": "IPSuffix",
    "SRC-IP-SUFFIX": "SrcIPSuffix",
    "IP-ASN": "IPASN",
    "SRC-IP-ASN": "SrcIPASN",
    "GEOSITE": "GeoSite",
    "GEOIP": "GeoIP",
    "SRC-GEOIP": "SrcGeoIP",
    "DSCP": "DSCP",
    "AND": "AND",
    "OR": "OR",
    "NOT": "NOT",
    "SUB-RULE": "SubRules",
}
_OF_SOURCE: Final = {"IP-CIDR", "IP-CIDR6", "IP-SUFFIX", "IP-ASN", "GEOIP"}
_LOWER: Final = ("GEOIP", "SRC-GEOIP", "NETWORK")
_JOINTS: Final = {"AND": " && ", "OR": " || "}

BEHAVIORS: Final = {"domain": "Domain", "ipcidr": "IPCIDR", "classical": "Classical"}
FORMATS: Final = {"yaml": "YamlRule", "text": "TextRule", "mrs": "MrsRule"}

Document = dict[str, Any]
Condition = Sequence[Any]  # kind, payload, parameters, conditions within


def type_of(condition: Condition) -> str:
    """Return what Clash calls a kind of condition."""
    kind, _, params, _ = condition
    if "src" in params and kind in _OF_SOURCE:
        kind = f"SRC-{kind.replace('IP-CIDR6', 'IP-CIDR')}"
    return _WORDS.get(kind) or "".join(part.capitalize() for part in kind.split("-"))


def payload_of(condition: Condition) -> str:
    """Return what a condition asks for, as Clash writes it."""
    kind, payload, _, children = condition
    if kind == "MATCH":
        return ""
    if kind in ("AND", "OR", "NOT"):
        parts = [f"({type_of(child)},{payload_of(child)})" for child in children]
        return f"(!{parts[0]})" if kind == "NOT" and parts else f"({_JOINTS.get(kind, '').join(parts)})"
    if kind == "SUB-RULE":
        return str(payload) if str(payload).startswith("(") else f"({payload})"
    return str(payload).lower() if kind in _LOWER else str(payload)


def rules_of(told: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Return all rules; told is of one worker, answers are the hits of all.

    Where the last rule does not take everything, the default is one more. A flow that a rule has decided, or
    one after it, has come by all rules before that: these it missed, but for those that only count, which it
    met.
    """
    rules = [*told["rules"]]
    if not rules or rules[-1][0][0] != "MATCH":
        rules.append([["MATCH", "", [], []], told["default"], -1])
    counts, moments = [0] * len(rules), [0.0] * len(rules)
    for answer in answers:
        for place, count, at in answer["hits"]:
            if -1 <= place < len(rules):
                counts[place] += count
                moments[place] = max(moments[place], at)
    seen = {place for answer in answers for place, *_ in answer.get("observed", ())}
    decided = [0 if place in seen else count for place, count in enumerate(counts)]
    missed = [0, *accumulate(reversed(decided))][:-1][::-1]
    for place in seen:
        if place < len(told["rules"]):
            missed[place] = max(missed[place] - counts[place], 0)
    missed_at = [0.0, *accumulate(reversed(moments), max)][:-1][::-1]
    off = {place for answer in answers for place in answer["off"]}
    return [
        {
            "index": index,
            "type": type_of(condition),
            "payload": payload_of(condition),
            "proxy": clash_name(target),
            "size": size,
            "extra": {
                "disabled": index in off,
                "hitCount": counts[index],
                "hitAt": written(moments[index]) if counts[index] else NEVER,
                "missCount": missed[index],
                "missAt": written(missed_at[index]) if missed[index] else NEVER,
            },
        }
        for index, (condition, target, size) in enumerate(rules)
    ]


def rule_provider_of(name: str, behavior: str, form: str, count: int, saved_at: float | None) -> Document:
    """Return a rule set as Clash shows it; saved_at is when its file was written."""
    return {
        "behavior": BEHAVIORS.get(behavior, "Classical"),
        "format": FORMATS.get(form, "TextRule"),
        "name": name,
        "ruleCount": count,
        "type": "Rule",
        "vehicleType": "File",
        "updatedAt": UNKNOWN if saved_at is None else written(saved_at),
    }
