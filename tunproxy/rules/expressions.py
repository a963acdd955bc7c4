"""Regular expressions, ready to be searched for: by `re`, or step by step in linear time.

``Linear`` follows all ways through an expression at once (K. Thompson, 1968): its time is the text's length
times the expression's, whatever either says. It is slower than `re` where that one is fast.

Look-around is an expression of its own, for which all places are found before the one around it begins: what
lies behind a place ends there, and what lies ahead of it, read backward from the end, ends there as well.
"""

import re
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

# Steps of a program: (what, first argument, second argument).
CHARACTER: Final[i64] = 0  # one of the characters of set number `first`
SPLIT: Final[i64] = 1  # go on at `first` and at `second`
JUMP: Final[i64] = 2  # go on at `first`
AT: Final[i64] = 3  # only where assertion `first` holds
DONE: Final[i64] = 4
LOOK: Final[i64] = 5  # only where look-around number `first` holds, or where it does not if `second` is 1

# Assertions.
BEGIN: Final[i64] = 0
END: Final[i64] = 1
LINE_BEGIN: Final[i64] = 2
LINE_END: Final[i64] = 3
WORD_EDGE: Final[i64] = 4

NEWLINE: Final[i64] = 10
OUTSIDE: Final[i64] = -1  # the "character" before the text and after it


@mypyc_attr(native_class=True)
class Expression:
    """What may be found in a text."""

    def found(self, text: str) -> bool:
        """Return whether the expression matches anywhere in text."""
        raise NotImplementedError


@final
@mypyc_attr(native_class=True)
class Backtracking(Expression):
    """An expression that Python's own engine is safe and fast with."""

    def __init__(self, pattern: "re.Pattern[str]") -> None:
        self.pattern: Final = pattern

    def found(self, text: str) -> bool:
        return self.pattern.search(text) is not None


@final
@mypyc_attr(native_class=True)
class Program:
    """The steps of an expression, or of look-around in one; backward: it reads from right to left."""

    def __init__(self, steps: list[tuple[int, int, int]], backward: bool) -> None:
        self.what: list[int] = [what for what, _, _ in steps]
        self.first: list[int] = [first for _, first, _ in steps]
        self.second: list[int] = [second for _, _, second in steps]
        self.seen: list[int] = [-1] * len(steps)  # by step: the last place at which we came by
        self.backward: bool = backward


@final
@mypyc_attr(native_class=True)
class Linear(Expression):
    """An expression as a program, all of whose ways are followed at once."""

    def __init__(self, program: Program, looks: list[Program], sets: list[list[tuple[int, int]]]) -> None:
        """A program of looks may ask for those before it."""
        self.program: Final = program
        self.looks: Final = looks
        self.sets: Final = sets

    def found(self, text: str) -> bool:
        held: list[list[bool]] = []  # by look-around, by place
        for look in self.looks:
            places = [False] * (len(text) + 1)
            self._search(look, text, held, places)
            held.append(places)
        return self._search(self.program, text, held, None)

    def _search(self, program: Program, text: str, held: list[list[bool]], places: list[bool] | None) -> bool:
        """Return whether program is found in text; with places, mark there all at which it ends."""
        for step in range(len(program.seen)):
            program.seen[step] = -1
        ways: list[int] = []
        length: i64 = len(text)
        count: i64 = 0
        while count <= length:
            place: i64 = length - count if program.backward else count
            before: i64 = ord(text[place - 1]) if place > 0 else OUTSIDE
            here: i64 = ord(text[place]) if place < length else OUTSIDE
            ways.append(0)  # the match may begin here as well
            arrived: list[int] = []
            for way in ways:
                if self._follow(program, way, place, before, here, held, arrived):
                    if places is None:
                        return True
                    places[place] = True
            code = before if program.backward else here
            ways = []
            for way in arrived:
                if self._holds(program.first[way], code):
                    ways.append(way + 1)
            count += 1
        return False

    def _follow(
        self,
        program: Program,
        start: i64,
        place: i64,
        before: i64,
        here: i64,
        held: list[list[bool]],
        arrived: list[int],
    ) -> bool:
        """Add to arrived the characters that may come next from start on; return whether it may also end."""
        ends = False
        stack: list[int] = [int(start)]
        while stack:
            step = stack.pop()
            if program.seen[step] == place:
                continue
            program.seen[step] = int(place)
            what: i64 = program.what[step]
            if what == CHARACTER:
                arrived.append(step)
            elif what == SPLIT:
                stack.append(program.second[step])
                stack.append(program.first[step])
            elif what == JUMP:
                stack.append(program.first[step])
            elif what == DONE:
                ends = True
            elif what == LOOK:
                if held[program.first[step]][place] != (program.second[step] == 1):
                    stack.append(step + 1)
            elif holds_at(program.first[step], before, here):
                stack.append(step + 1)
        return ends

    def _holds(self, number: i64, code: i64) -> bool:
        """Return whether the character is in the set."""
        for low, high in self.sets[number]:  # noqa: SIM110 - a generator costs more than the loop
            if low <= code <= high:
                return True
        return False


def holds_at(which: i64, before: i64, here: i64) -> bool:
    """Return whether an assertion holds between two characters."""
    if which == BEGIN:
        return before == OUTSIDE
    if which == END:
        return here == OUTSIDE
    if which == LINE_BEGIN:
        return before == OUTSIDE or before == NEWLINE
    if which == LINE_END:
        return here == OUTSIDE or here == NEWLINE
    return (is_word(before) != is_word(here)) == (which == WORD_EDGE)


def is_word(code: i64) -> bool:
    """Return whether a character is a letter, a digit or an underscore of ASCII."""
    return 48 <= code <= 57 or 65 <= code <= 90 or code == 95 or 97 <= code <= 122
