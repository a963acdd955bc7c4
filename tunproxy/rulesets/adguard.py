"""AdGuard's lists for DNS, with hosts lines among them.

The set is what such a list blocks: what is blocked without what is allowed, and what is important, without
what is importantly allowed.

    a.com          this name                     @@…           allowed, whatever else is said
    ||a.com^       this name and all below       …$important   stronger than @@
    /regex/        names in which it is found    0.0.0.0 a.com as in a hosts file
    ! or #         comment

What depends on more than a name (paths, ports, elements of a page, other modifiers) is skipped with a note.
"""

import re
from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.adguard_pattern import add_adguard
from tunproxy.rulesets.hosts import add_hosts_line
from tunproxy.rulesets.items import clean_name, expression_problem
from tunproxy.rulesets.lines import lines_of
from tunproxy.rulesets.logic import extend
from tunproxy.rulesets.notes import Notes
from tunproxy.rulesets.subtract import subtract

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+")
_PAGES: Final = re.compile(r"#@?[$?%]?#|\$\$")  # rules for elements of a page
_SCHEME: Final = re.compile(r"(?:\|)?[a-z]+://")
_NULL_ADDRESSES: Final = ("0.0.0.0", "::", "")


def read_adguard(data: bytes, name: str) -> RuleSetContent:
    """Return what the list blocks; lines that cannot be used are in its skipped."""
    blocked = RuleSetContent()
    notes = Notes(blocked, name)
    important, allowed, strongly_allowed = RuleSetContent(), RuleSetContent(), RuleSetContent()
    for number, line in lines_of(data, name):
        if not line or line[0] == "!" or (line[0] == "#" and not _PAGES.match(line)) or _is_header(line):
            continue
        text, strong, why = _modifiers(line)
        if why:
            notes.skip(number, 1, why)
            continue
        if text.startswith("@@"):
            text = text[2:]
            content = strongly_allowed if strong else allowed
        else:
            content = important if strong else blocked
        why = _add(content, text)
        if why:
            notes.skip(number, 1, why)
    result = subtract(blocked, allowed)
    extend(result, important)
    return subtract(result, strongly_allowed)


def _is_header(line: str) -> bool:
    return line.startswith("[") and line.endswith("]")


def _modifiers(line: str) -> tuple[str, bool, str]:
    """Return the line without its modifiers, whether it is important, and why it cannot be used or ""."""
    if _PAGES.search(line):
        return "", False, "a rule for elements of a page"
    start = line.rfind("/") if line.lstrip("@").startswith("/") else 0
    at = line.find("$", start + 1)
    if at < 0 or (line.endswith("/") and start):
        return line, False, ""
    important = False
    for modifier in line[at + 1 :].split(","):
        word, _, value = modifier.strip().partition("=")
        if word == "important":
            important = True
        elif word == "dnsrewrite" and value in _NULL_ADDRESSES:
            continue  # another way to say: blocked
        else:
            return "", False, f"modifier {word!r} asks for more than a name"
    return line[:at], important, ""


def _add(content: RuleSetContent, text: str) -> str:
    if "\ufffd" in text:
        return "the line is no UTF-8, or too long"
    if _BARE.fullmatch(text) and not text.replace(".", "").isdigit():
        name, why = clean_name(text)
        if not why:
            content.exact.append(name)
        return why
    if len(text) > 2 and text[0] == "/" and text[-1] == "/":
        why = expression_problem(text[1:-1])
        if not why:
            content.regex.append(text[1:-1])
        return why
    if " " in text or "\t" in text:
        return add_hosts_line(content, text, blocking=True)
    text = _SCHEME.sub("|", text, count=1)
    if "/" in text.rstrip("/"):
        return f"{text!r} is about a path"
    if re.search(r":\d+\^?$", text):
        return f"{text!r} is about a port"
    if re.fullmatch(r"\|{0,2}[\d.*]+\^?\|?", text):
        return f"{text!r} is about an address"
    return add_adguard(content, text.rstrip("/"))
