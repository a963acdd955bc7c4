"""One pattern of an AdGuard list, without its modifiers: `||a.com^`, `|a.com^`, `ads`, `||ad*.com^`."""

import re

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.items import clean_name


def add_adguard(content: RuleSetContent, pattern: str) -> str:
    """Add what the pattern means for host names; return "" or why it cannot be read.

    `||` is the start of a name or of a label, `|` the start of the name, `^` its end, `*` any characters.
    Without a mark at a side anything may stand there.
    """
    text = pattern
    at_label = text.startswith("||")
    at_start = not at_label and text.startswith("|")
    text = text[2 if at_label else 1 if at_start else 0 :]
    at_end = text.endswith(("^", "|"))
    text = text.rstrip("^|")
    while text.startswith("*"):  # anything may stand before it
        text = text[1:]
        at_label = at_start = False
    while text.endswith("*"):
        text = text[:-1]
        at_end = False
    bare = text.replace("*", "x").strip(".")
    if not bare:
        return f"{pattern!r} would be met by every name"
    name, why = clean_name(bare)
    if why:
        return why
    plain = "*" not in text and text == bare
    if plain and at_end and at_label:
        content.suffix.append(name)
    elif plain and at_end and at_start:
        content.exact.append(name)
    elif not (at_label or at_start or at_end) and "*" not in text:
        content.keyword.append(text.lower())
    else:
        head = "^" if at_start else r"(?:^|\.)" if at_label else ""
        middle = ".*".join(re.escape(part) for part in text.lower().split("*"))
        content.regex.append(head + middle + ("$" if at_end else ""))
    return ""
