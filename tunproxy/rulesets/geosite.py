"""v2fly's geosite.dat: named lists of names. One message of protocol buffers:

list    repeated entry = 1
entry   code = 1, repeated domain = 2
domain  type = 1 (0 keyword, 1 expression, 2 the name and all below, 3 this name), value = 2,
        repeated attribute = 3 (key = 1)
"""

from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.items import clean_name, expression_problem
from tunproxy.rulesets.notes import Notes, broken
from tunproxy.rulesets.protobuf import fields_of, text_of

_KEYWORD: Final = 0
_REGEX: Final = 1
_SUFFIX: Final = 2
_FULL: Final = 3


class Geosite:
    """A geosite.dat; lists are understood when they are asked for."""

    def __init__(self, data: bytes, name: str) -> None:
        """Find where each list is; raises RuleError for damaged data."""
        self.name = name
        self.lists: dict[str, bytes] = {}
        for code, entry in entries_by_code(data, name):
            self.lists[code] = self.lists.get(code, b"") + entry

    def read(self, query: str) -> RuleSetContent:
        """Return the list that a rule calls `name` or `name@attribute`, all attributes being needed.

        A leading `!` is left to the caller (split_query). Raises RuleError for an unknown list.
        """
        _, code, wanted = split_query(query)
        if code not in self.lists:
            raise broken(self.name, f"no list {code!r} in the file")
        content = RuleSetContent()
        notes = Notes(content, self.name)
        for number, value in fields_of(self.lists[code], self.name):
            if number == 2 and isinstance(value, bytes):
                why = self._add(content, value, wanted)
                if why:
                    notes.skip(1, 1, f"{code}: {why}")
        return content

    def _add(self, content: RuleSetContent, domain: bytes, wanted: frozenset[str]) -> str:
        kind = _KEYWORD
        text = ""
        attributes: set[str] = set()
        for number, value in fields_of(domain, self.name):
            if number == 1 and isinstance(value, int):
                kind = value
            elif number == 2:
                text = text_of(value)
            elif number == 3 and isinstance(value, bytes):
                attributes.update(text_of(key).lower() for at, key in fields_of(value, self.name) if at == 1)
        if not wanted <= attributes:
            return ""
        if kind == _REGEX:
            why = expression_problem(text)
            if not why:
                content.regex.append(text)
            return why
        name, why = clean_name(text)
        if kind == _KEYWORD:
            if not text or not text.isascii():
                return f"{text!r} is no keyword"
            content.keyword.append(text.lower())
            return ""
        if why or "*" in name or name[0] in "+.":
            return why or f"{text!r} is no name"
        if kind == _SUFFIX:
            content.suffix.append(name)
        elif kind == _FULL:
            content.exact.append(name)
        else:
            return f"unknown type {kind} of a name"
        return ""


def split_query(query: str) -> tuple[bool, str, frozenset[str]]:
    """Return whether `!name@a@b` is negated, the list, and the attributes, all in lower case."""
    text = query.strip().lower()
    negated = text.startswith("!")
    code, *attributes = text.removeprefix("!").split("@")
    return negated, code, frozenset(filter(None, attributes))


def entries_by_code(data: bytes, name: str) -> list[tuple[str, bytes]]:
    """Return code, in lower case, and message of each entry of geosite.dat or geoip.dat."""
    found = []
    for number, entry in fields_of(data, name):
        if number != 1 or not isinstance(entry, bytes):
            raise broken(name, "not a list of entries (geosite.dat or geoip.dat is expected)")
        code = next((text_of(value) for at, value in fields_of(entry, name) if at == 1), "")
        if not code:
            raise broken(name, "an entry has no name (geosite.dat or geoip.dat is expected)")
        found.append((code.lower(), entry))
    return found
