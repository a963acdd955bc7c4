"""Hides secrets in the text of configurations: by the names of keys, and in URLs.

What is hidden too much is a nuisance, what is hidden too little a leak. So a key counts as secret by a part
of its name, whatever table it is in: plugins have keys that we do not know.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final  # Any as TOML has it

MASK: Final = "***"
LEAST: Final = 4  # letters of a value that is hidden wherever it stands; our choice

_SECRET: Final = re.compile(
    r"pass|pwd|secret|token|psk|credential|authori[sz]ation|cookie|uuid|private|api[-_]?key|shared[-_]?key|^key$|[-_]key$|^auth$",
    re.IGNORECASE,
)
_PATH: Final = re.compile(r"[-_](file|path|folder)$", re.IGNORECASE)
_STRING: Final = r"\"\"\".*?(?:\"\"\"|\Z)|'''.*?(?:'''|\Z)|\"(?:\\.|[^\"\\\n])*\"?|'[^'\n]*'?"
# a key, or a field of somebody's own format, and what leads to its value
_KEY: Final = re.compile(r"(?:(?<![\w.-])[\w.-]++|\"[^\"\n]+\"|'[^'\n]+')(?=(\s*+[=:]\s*+))")
# that value: a string, a list, or a bare word; one that does not end goes on to the end
_VALUE: Final = re.compile(rf"{_STRING}|\[(?:{_STRING}|[^\]\"'])*+(?:\]|\Z)|[^\s,{{}}\[\]#\"'&]+", re.DOTALL)
# what stands behind a value in no TOML: the rest of one with a quote in it, "ab"cd"
_MORE: Final = re.compile(r"[ \t]*+[^\s,\]}#&][^\n]*")
_KEY_END: Final = re.compile(r"[=:][ \t]*|(?=[\"'])")
_TORN: Final = re.compile(r"[^\w.-]+")  # what a key has not
# what somebody may have meant by a key that there is not
_MEANT: Final = ("password", "passwd", "passphrase", "secret", "token")
_NEAR: Final = 0.75  # our choice: pasword, psswd, sercet and tokn are, server and seconds are not
# a login; the name of a resolver in front of its address is none: tls://dns.example@192.0.2.1
_LOGIN: Final = re.compile(
    r"(?P<head>\b[A-Za-z][\w+.-]*://)(?![a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+@[\d\[])"
    r"(?:[^/\s\"'@:]*:[^\s\"']{0,200}|[^/\s\"']+)@"  # a password may have @ and / in it, though it must not
)
_BARE_LOGIN: Final = re.compile(r"(?<=[\"'])[^\s\"',@/:=]+:(?!//)[^\s\"',]+@(?=[\w\[])")  # without the scheme
_ASKED: Final = re.compile(r"(?P<head>[?&](?P<key>[\w.-]+)=)[^&#\s\"']+")
_PACKED: Final = re.compile(r"\b(?P<head>(?:ss|vmess|ssr)://)[A-Za-z0-9+/=_-]{8,}")


def is_secret(key: str) -> bool:
    """Tell whether the value of a key is nobody's business."""
    name = key.strip("\"' ").rpartition(".")[2]
    if _PATH.search(name) is not None:
        return False
    return _SECRET.search(name) is not None or _is_misspelt(name.lower())


@lru_cache(4096)
def _is_misspelt(name: str) -> bool:
    return any(difflib.get_close_matches(part, _MEANT, 1, _NEAR) for part in {name, *re.split("[-_]", name)})


def masked(text: str) -> str:
    """Return text without its secrets; it has as many lines as before."""
    values = _values(text)
    for value in sorted(values or (), key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _without_values(text)
    if values is None:
        text = "\n".join(map(_without_torn, text.split("\n")))
    return without_logins(text)


def without_logins(text: str) -> str:
    """Return a text for people, in which URLs may stand, without what these have of secrets."""
    text = _LOGIN.sub(rf"\g<head>{MASK}@", text)
    text = _BARE_LOGIN.sub(f"{MASK}@", text)
    text = _ASKED.sub(lambda found: f"{found['head']}{MASK}" if is_secret(found["key"]) else found[0], text)
    return _PACKED.sub(rf"\g<head>{MASK}", text)


def masked_lines(text: str) -> Sequence[str]:
    """Return the lines of text, as split by line feeds, without secrets."""
    return masked(text).split("\n")


def _without_values(text: str) -> str:
    """Return text without the values of keys that are secret."""
    parts, kept, at = [], 0, 0
    while (key := _KEY.search(text, at)) is not None:
        at = key.end(1)
        value = _VALUE.match(text, at) if is_secret(key[0]) else None
        if value is not None and value[0] not in ("true", "false"):
            parts += [text[kept:at], MASK, "\n" * value[0].count("\n")]
            more = _MORE.match(text, value.end())
            kept = at = more.end() if more is not None else value.end()
    return "".join([*parts, text[kept:]])


def _without_torn(line: str) -> str:
    """Return a line of a text that is no TOML without what stands behind a torn key: pass}word "x"."""
    if line.lstrip()[:1] in ("", "#", "[", '"', "'"):
        return line
    end = _KEY_END.search(line)
    at = end.end() if end is not None else len(line)
    if end is None and len(words := line.split(None, 1)) == 2:  # password hunter22
        at = line.index(words[1], line.index(words[0]) + len(words[0]))
    if "," in line[:at] or line[at:].strip() in ("", MASK) or line[at] == "{":  # a rule, or nothing to hide
        return line
    return f"{line[:at]}{MASK}" if is_secret(_TORN.sub("", line[:at])) else line


def _values(text: str) -> set[str] | None:
    """Return the secret strings of a configuration; None where it is no TOML. Of one in lines, its lines."""
    try:
        tree = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    lines = (line for value in _found(tree, is_hidden=False) for line in value.splitlines())
    return {line for line in lines if len(line) >= LEAST}


def _found(value: Any, *, is_hidden: bool) -> Iterator[str]:
    if isinstance(value, dict):
        is_reference = len(value) == 1 and set(value) <= {"env", "file"}
        for key, each in value.items():
            yield from _found(each, is_hidden=(is_hidden or is_secret(key)) and not is_reference)
    elif isinstance(value, list):
        for each in value:
            yield from _found(each, is_hidden=is_hidden)
    elif isinstance(value, str) and is_hidden:
        yield value
