"""Conditions on a text of the flow: its host name, its process's name, the inbound it came by.

Each comes in three forms: one of these words, a pattern with `*` and `?`, a regular expression. Upper and
lower case are the same, but for inbounds and their users, all as in mihomo.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.expressions import Expression
from tunproxy.rules.facts import (
    INDETERMINATE,
    MATCHED,
    NEEDS_NAME,
    NEEDS_PROCESS,
    NOT_MATCHED,
    Facts,
    Matcher,
)

# Which text.
HOST: Final[i64] = 0
PROCESS_NAME: Final[i64] = 1
PROCESS_PATH: Final[i64] = 2
APP: Final[i64] = 3
NETWORK: Final[i64] = 4
IN_TYPE: Final[i64] = 5
IN_USER: Final[i64] = 6
IN_NAME: Final[i64] = 7
REMATCH_NAME: Final[i64] = 8


def text_of(facts: Facts, field: i64) -> str | None:
    """Return a text of the flow in lower case, "" if there is none; None: not yet known, see needs."""
    if field == HOST:
        if facts.host == "" and not facts.host_asked:
            facts.needs |= NEEDS_NAME
            return None
        return facts.host
    if field <= APP:
        if not facts.has_process():
            return None
        text = facts.process_name
        if field == PROCESS_PATH:
            text = facts.process_path
        elif field == APP:
            text = facts.app
        return "" if text is None else facts.lower(text)
    if field == NETWORK:
        return facts.network
    if field == IN_TYPE:
        return facts.lower(facts.in_type)
    if field == IN_USER:
        return facts.in_user
    return facts.in_name if field == IN_NAME else facts.rematch_name


def needs_of(field: i64) -> i64:
    """Return what has to be known for a text."""
    if field == HOST:
        return NEEDS_NAME
    return NEEDS_PROCESS if field <= APP else 0


def like(text: str, pattern: str) -> bool:
    """Return whether all of text is as pattern says, where `*` is any run and `?` any one character.

    Takes at most len(text) * len(pattern) steps: only the last `*` has ever to be tried again.
    """
    at: i64 = 0
    here: i64 = 0
    star: i64 = -1
    resume: i64 = 0
    length: i64 = len(text)
    end: i64 = len(pattern)
    while at < length:
        if here < end and pattern[here] == "*":
            star = here
            resume = at
            here += 1
        elif here < end and (pattern[here] == "?" or pattern[here] == text[at]):
            here += 1
            at += 1
        elif star >= 0:
            resume += 1
            at = resume
            here = star + 1
        else:
            return False
    while here < end and pattern[here] == "*":
        here += 1
    return here == end


@final
@mypyc_attr(native_class=True)
class OneOf(Matcher):
    """The text is one of these words."""

    def __init__(self, field: i64, words: list[str]) -> None:
        self.field: i64 = field
        known = words if field >= IN_USER else [word.lower() for word in words]
        self.words: Final = frozenset(known) - {""}
        self.only: Final = known[0] if len(known) == 1 else ""  # as nearly always

    def test(self, facts: Facts) -> i64:
        text = text_of(facts, self.field)
        if text is None:
            return INDETERMINATE
        if self.only != "":
            return MATCHED if text == self.only else NOT_MATCHED
        return MATCHED if text in self.words else NOT_MATCHED

    def needs(self) -> i64:
        return needs_of(self.field)


@final
@mypyc_attr(native_class=True)
class SuffixOf(Matcher):
    """The host name is this name or below it."""

    def __init__(self, name: str) -> None:
        self.name: Final = name.lower()
        self.tail: Final = "." + name.lower()

    def test(self, facts: Facts) -> i64:
        host = text_of(facts, HOST)
        if host is None:
            return INDETERMINATE
        if host == "" or self.name == "":
            return NOT_MATCHED
        return MATCHED if host == self.name or host.endswith(self.tail) else NOT_MATCHED

    def needs(self) -> i64:
        return NEEDS_NAME


@final
@mypyc_attr(native_class=True)
class Contains(Matcher):
    """The host name has this text in it."""

    def __init__(self, keyword: str) -> None:
        self.keyword: Final = keyword.lower()
        self.usable: Final = keyword != "" and keyword.isascii()  # as in KeywordIndex

    def test(self, facts: Facts) -> i64:
        host = text_of(facts, HOST)
        if host is None:
            return INDETERMINATE
        return MATCHED if self.usable and self.keyword in host else NOT_MATCHED

    def needs(self) -> i64:
        return NEEDS_NAME


@final
@mypyc_attr(native_class=True)
class Like(Matcher):
    """The text is as a pattern says. A flow without a name has the empty name, which `*` describes."""

    def __init__(self, field: i64, pattern: str) -> None:
        self.field: i64 = field
        self.pattern: Final = pattern.lower()

    def test(self, facts: Facts) -> i64:
        text = text_of(facts, self.field)
        if text is None:
            return INDETERMINATE
        if text == "" and self.field != HOST:
            return NOT_MATCHED
        return MATCHED if like(text, self.pattern) else NOT_MATCHED

    def needs(self) -> i64:
        return needs_of(self.field)


@final
@mypyc_attr(native_class=True)
class Found(Matcher):
    """A regular expression is found in the text. A flow without a name has the empty name, as above."""

    def __init__(self, field: i64, expression: Expression) -> None:
        self.field: i64 = field
        self.expression: Final = expression

    def test(self, facts: Facts) -> i64:
        text = text_of(facts, self.field)
        if text is None:
            return INDETERMINATE
        if text == "" and self.field != HOST:
            return NOT_MATCHED
        return MATCHED if self.expression.found(text) else NOT_MATCHED

    def needs(self) -> i64:
        return needs_of(self.field)
