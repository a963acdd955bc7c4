"""Rule numbers by key: the lowest rule at or after a given one, in one look-up of a dict.

Nearly every key has one rule, and nearly every question starts at rule 0. So the first number of a key is in
a dict of its own, and only a key with several rules has a list besides.
"""

from bisect import bisect_left, insort
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

NONE: Final[i64] = (1 << 30) - 1  # more than any rule's number, and still one digit of an int


@final
@mypyc_attr(native_class=True)
class Numbers:
    """Sorted rule numbers, for "is there one at or after"."""

    def __init__(self) -> None:
        self.all: list[int] = []

    def add(self, number: i64) -> None:
        """Add a number; fastest where they come in order."""
        insort(self.all, int(number))

    def next(self, start: i64) -> i64:
        """Return the lowest number that is not below start, or NONE."""
        count = len(self.all)
        if count == 0:
            return NONE
        if start <= 0:
            return i64(self.all[0])
        at = bisect_left(self.all, int(start))
        return i64(self.all[at]) if at < count else NONE


@final
@mypyc_attr(native_class=True)
class KeyIndex:
    """Rule numbers by a text."""

    def __init__(self) -> None:
        self.first: dict[str, int] = {}
        self.several: dict[str, Numbers] = {}

    def add(self, key: str, number: i64) -> None:
        """Let key find number."""
        known = self.first.get(key)
        if known is None:
            self.first[key] = int(number)
            return
        numbers = self.several.get(key)
        if numbers is None:
            numbers = Numbers()
            numbers.add(i64(known))
            self.several[key] = numbers
        numbers.add(number)
        self.first[key] = numbers.all[0]

    def next(self, key: str, start: i64) -> i64:
        """Return the lowest number of key that is not below start, or NONE."""
        if not self.first:
            return NONE
        found = self.first.get(key)
        if found is None:
            return NONE
        number: i64 = found
        if number >= start:
            return number
        numbers = self.several.get(key)
        return NONE if numbers is None else numbers.next(start)
