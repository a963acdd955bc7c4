"""dae's routing section.

routing {
    pname(curl) && l4proto(udp) -> direct
    domain(suffix: a.com, keyword: b, geosite:cn) && !dip(geoip:private) -> my_group
    fallback: my_group
}
"""

import re
from collections.abc import Iterator
from typing import Final

from tunproxy.rules.model import Condition
from tunproxy.rulesets.convert.report import Conversion, rule_line
from tunproxy.rulesets.items import clean_name, parse_prefix
from tunproxy.rulesets.lines import lines_of
from tunproxy.rulesets.logic import all_of, any_of, negated

_CALL: Final = re.compile(r"\s*(!?)\s*([a-z0-9_]+)\s*\(((?:'[^']*'|\"[^\"]*\"|[^()'\"])*)\)\s*")
_TARGETS: Final = {"direct": "DIRECT", "block": "REJECT", "must_direct": "DIRECT"}
_DOMAIN_KINDS: Final = {
    "": "DOMAIN-SUFFIX", "suffix": "DOMAIN-SUFFIX", "full": "DOMAIN", "keyword": "DOMAIN-KEYWORD",
    "regex": "DOMAIN-REGEX", "geosite": "GEOSITE",
}  # fmt: skip
_WORDS: Final = {"l4proto": "NETWORK", "pname": "PROCESS-NAME"}
_NUMBERS: Final = {"dport": "DST-PORT", "sport": "SRC-PORT", "dscp": "DSCP"}
_ADDRESSES: Final = {"dip": ("IP-CIDR", "GEOIP"), "sip": ("SRC-IP-CIDR", "SRC-GEOIP")}


class Unknown(Exception):
    """A rule has something that we cannot express; the text says what."""


def convert_dae(data: bytes, name: str) -> Conversion:
    """Return the rules of the routing section, or of all of data where there is none; raises RuleError."""
    result = Conversion(name)
    for number, text in _rules(data, name):
        head, arrow, target = text.rpartition("->")
        try:
            if arrow:
                found, why = _target(target)
                result.add(text, number, [rule_line(_condition(head), found)], why)
            elif text.startswith("fallback:"):
                found, why = _target(text.removeprefix("fallback:"))
                result.add(text, number, [f"MATCH,{found}"], why)
            else:
                raise Unknown("it has no `->`")
        except Unknown as error:
            result.drop(text, number, str(error))
    return result


def _rules(data: bytes, name: str) -> Iterator[tuple[int, str]]:
    """Yield the rules, each with the number of its first line; one may go on over several."""
    lines = [(number, _without_comment(line)) for number, line in lines_of(data, name)]
    sections = any(re.match(r"routing\s*\{", line) for _, line in lines)
    depth = 0
    inside = not sections
    start, rule = 0, ""
    for number, line in lines:
        if re.match(r"routing\s*\{", line) and depth == 0:
            inside, depth, line = True, 1, line.partition("{")[2].strip()
        elif sections and not inside:
            depth = max(0, depth + line.count("{") - line.count("}"))
            continue
        if sections and "}" in line and "{" not in line:
            inside, depth = False, 0
            line = line.partition("}")[0].strip()
        if not line:
            continue
        start = start if rule else number
        rule = f"{rule} {line}".strip()
        if len(rule) < 100_000 and (rule.count("(") > rule.count(")") or rule.endswith(("&&", "->"))):
            continue
        yield start, rule
        rule = ""
    if rule:
        yield start, rule


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line).strip()


def _target(text: str) -> tuple[str, str]:
    """Return the target, and what is left out of it or ""."""
    label, bracket, rest = text.strip().partition("(")
    label = label.strip()
    if not label:
        raise Unknown("it has no target")
    why = f"{rest.rstrip(')').strip()!r} of the target is left out" if bracket else ""
    if label in _TARGETS:
        return _TARGETS[label], why
    return label.removeprefix("must_"), why


def _condition(text: str) -> Condition:
    """Return what calls joined with && ask."""
    conditions = []
    at = 0
    while True:
        call = _CALL.match(text, at)
        if call is None:
            raise Unknown(f"cannot read {text[at:].strip()!r}")
        condition = any_of(_asked(call[2], _arguments(call[3])))
        conditions.append(negated(condition) if call[1] else condition)
        at = call.end()
        if not text[at:].strip():
            return all_of(conditions)
        if not text.startswith("&&", at):
            raise Unknown(f"`&&` is expected before {text[at:].strip()!r}")
        at += 2


def _arguments(text: str) -> list[tuple[str, str]]:
    """Return the arguments of a call as (key, value); key is "" where there is none."""
    found = []
    for part in re.findall(r"(?:'[^']*'|\"[^\"]*\"|[^,'\"])+", text):
        match = re.fullmatch(r"\s*(?:([a-z]+)\s*:(?!:))?\s*(.*?)\s*", part)
        if match is None or not match[2]:
            raise Unknown(f"cannot read {part.strip()!r}")
        key, value = match[1] or "", match[2]
        if value[0] in "'\"" and value[-1] == value[0] and len(value) > 1:
            value = value[1:-1]
        found.append((key, value))
    if not found:
        raise Unknown("a condition without arguments")
    return found


def _asked(function: str, arguments: list[tuple[str, str]]) -> list[Condition]:
    if function == "domain":
        return [_domain(key, value) for key, value in arguments]
    if function in _ADDRESSES:
        return [_address(*_ADDRESSES[function], key, value) for key, value in arguments]
    values = [value for _, value in arguments]
    if function in _NUMBERS:
        return [Condition(_NUMBERS[function], "/".join(values))]
    if function == "ipversion":
        prefixes = {"4": "0.0.0.0/0", "6": "::/0"}
        if not all(value in prefixes for value in values):
            raise Unknown(f"ipversion {', '.join(values)} is unknown")
        return [Condition("IP-CIDR", prefixes[value], ("no-resolve",)) for value in values]
    if function in _WORDS:
        return [Condition(_WORDS[function], value) for value in values]
    raise Unknown(f"{function}() has no counterpart")


def _domain(key: str, value: str) -> Condition:
    kind = _DOMAIN_KINDS.get(key, "")
    if not kind:
        raise Unknown(f"{key}: has no counterpart")
    if kind in ("DOMAIN", "DOMAIN-SUFFIX"):
        value, why = clean_name(value)
        if why:
            raise Unknown(why)
    return Condition(kind, value)


def _address(kind: str, country: str, key: str, value: str) -> Condition:
    params = () if kind.startswith("SRC") else ("no-resolve",)
    if key == "geoip":
        return Condition(country, value, params)
    whole = value if not key else f"{key}:{value}"  # an IPv6 address looks like a key
    found = parse_prefix(whole)
    if found is None:
        raise Unknown(f"{whole!r} is no address or prefix")
    return Condition(kind, whole if "/" in whole else f"{whole}/{32 if found[0] == 4 else 128}", params)
