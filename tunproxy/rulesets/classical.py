"""Items of behavior `classical`: rule lines without a target."""

from typing import Final

from tunproxy.rules.kinds import why_never
from tunproxy.rules.model import Condition, Position, RuleError, RuleSetContent
from tunproxy.rules.parse import MAX_HINTS, parse_condition
from tunproxy.rulesets.items import MAX_NAME_LEN, clean_name, parse_prefix

_NOWHERE: Final = Position("", 1, 1)
_PLAIN: Final = b"abcdefghijklmnopqrstuvwxyz0123456789.-_\n\r"  # names and ends of lines


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


def add_names_of_kind(content: RuleSetContent, piece: bytes) -> bool:
    """Add whole lines that are all of one kind of name; False, and nothing added, where one is anything else.

    So it is in long lists, and looking at each line takes three times as long.
    """
    lines = piece.count(b"\n") + (not piece.endswith(b"\n"))
    text = b"\n" + piece
    for lead, known in ((b"\nDOMAIN-SUFFIX,", content.suffix), (b"\nDOMAIN,", content.exact)):
        if text.startswith(lead):
            names = text.replace(lead, b"\n")
            if (
                len(text) - len(names) != lines * (len(lead) - 1)
                or names.translate(None, _PLAIN)
                or any(empty in names for empty in (b"..", b"\n.", b".\n", b".\r", b"\n\n", b"\n\r"))
                or names.endswith(b".")
            ):
                return False
            found = names.decode().split()
            if len(found) != lines or max(map(len, found)) > MAX_NAME_LEN:
                return False
            known += found
            return True
    return False


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
