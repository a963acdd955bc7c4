"""Items of behavior `classical`: rule lines without a target."""

from typing import Final

from tunproxy.rules.kinds import why_never
from tunproxy.rules.model import Condition, Position, RuleError, RuleSetContent
from tunproxy.rules.parse import MAX_HINTS, parse_condition
from tunproxy.rulesets.items import clean_name, parse_prefix

_NOWHERE: Final = Position("", 1, 1)


def add_condition(content: RuleSetContent, item: str) -> str:
    """Add a rule line; what has a list of its own in content goes there. Return "" or what is wrong."""
    kind, _, payload = item.partition(",")
    kind = kind.rstrip().upper()
    payload = payload.strip()
    # Parsing a line takes a hundred times as long as this, and most lines are one of these.
    if "," not in payload:
        if kind in ("DOMAIN-SUFFIX", "DOMAIN", "DOMAIN-KEYWORD"):
            return _add_name(content, kind, payload)
        if kind in ("IP-CIDR", "IP-CIDR6") and "/" in payload:
            found = parse_prefix(payload)
            if found is not None:
                content.ranges.append(found)
                return ""
    try:
        condition = parse_condition(item, _NOWHERE, hints=len(content.skipped) < MAX_HINTS)
    except RuleError as error:
        return error.message + (f" (did you mean {error.suggestion!r}?)" if error.suggestion else "")
    why = why_never(condition)
    if why:
        return why
    if condition.kind == "DOMAIN-REGEX":
        content.regex.append(condition.payload)
    else:
        content.conditions.append(condition)
    return ""


def _add_name(content: RuleSetContent, kind: str, text: str) -> str:
    name, why = clean_name(text)
    if kind == "DOMAIN-KEYWORD":
        if not text or not text.isascii():
            return why_never(Condition(kind, text))
        content.keyword.append(text.lower())
        return ""
    if why:
        return why
    if name[0] in "+." or "*" in name:
        return why_never(Condition(kind, name)) or f"{text!r} is no name"
    (content.exact if kind == "DOMAIN" else content.suffix).append(name)
    return ""
