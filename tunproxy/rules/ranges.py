"""Ranges of integers, both ends included: which rules' ranges hold a value, and whether a set's do.

Addresses and ports are all the same here. ``RangeSet`` is sorted starts and ends and one bisection.
``RangeIndex`` is a segment tree: the ends of all ranges cut the line into segments, the leaves; a range is
kept in the few nodes that cover it exactly, and a value's rules are in the nodes from its leaf to the root.
So n ranges take O(n log n) room however they overlap, which a list of rules for each segment does not.

Values below 2**62 are looked up among packed words, others, which are IPv6 addresses, in a list.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from sys import byteorder
from typing import Final, final

from librt.strings import read_i32_be, read_i64_be
from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.numbers import NONE, Numbers

FITS_A_WORD: Final = 1 << 62


def merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same values as sorted ranges that neither overlap nor touch."""
    result: list[tuple[int, int]] = []
    low = high = -2
    for first, last in sorted(ranges):
        if first > high + 1:
            if high >= 0:
                result.append((low, high))
            low, high = first, last
        elif last > high:
            high = last
    if high >= 0:
        result.append((low, high))
    return result


def packed(values: list[int], code: str) -> bytes:
    """Return values as words, most significant octet first; code is that of their size in ``array``."""
    words = array(code, values)
    if byteorder == "little":
        words.byteswap()
    return words.tobytes()


def place_in(words: bytes, value: i64) -> i64:
    """Return how many of the sorted words of 8 octets are not above value."""
    low: i64 = 0
    high: i64 = len(words) >> 3
    while low < high:
        middle = (low + high) >> 1
        if i64(read_i64_be(words, middle * 8)) <= value:
            low = middle + 1
        else:
            high = middle
    return low


@final
@mypyc_attr(native_class=True)
class RangeSet:
    """Whether a value lies in any of many ranges."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        parts = merged(ranges)
        starts = [first for first, _ in parts]
        ends = [last for _, last in parts]
        small = not ends or ends[-1] < FITS_A_WORD
        self.starts: Final = packed(starts, "q") if small else b""
        self.ends: Final = packed(ends, "q") if small else b""
        self.big_starts: list[int] = [] if small else starts
        self.big_ends: list[int] = [] if small else ends

    def has(self, value: i64) -> bool:
        """Return whether value, below 2**62 as all of the set are, lies in one of the ranges."""
        at = place_in(self.starts, value)
        return at > 0 and value <= i64(read_i64_be(self.ends, at * 8 - 8))

    def has_big(self, value: int) -> bool:
        """Return whether value lies in one of the ranges, whatever their size."""
        if not self.big_starts:
            return value < FITS_A_WORD and self.has(i64(value))
        at = bisect_right(self.big_starts, value)
        return at > 0 and value <= self.big_ends[at - 1]


@final
@mypyc_attr(native_class=True)
class RangeIndex:
    """The lowest rule, at or after a given one, among those whose range holds a value."""

    def __init__(self, entries: list[tuple[int, int, int]]) -> None:
        """entries are (first, last, rule number), in any order."""
        cuts = {first for first, _, _ in entries} | {last + 1 for _, last, _ in entries}
        cuts.add(0)
        starts = sorted(cuts)
        small = starts[-1] < FITS_A_WORD
        self.starts: Final = packed(starts, "q") if small else b""
        self.big_starts: list[int] = [] if small else starts
        self.leaves: i64 = len(starts)
        self.empty: Final = not entries
        self.several: dict[int, Numbers] = {}  # by node, where it has more than one rule
        lowest = [int(NONE)] * (2 * len(starts))
        places = {start: place for place, start in enumerate(starts)}
        for first, last, number in entries:
            self._insert(lowest, places[first] + len(starts), places[last + 1] + len(starts), number)
        self.lowest: Final = packed(lowest, "i")
        self.of_leaf: Final = packed(_of_leaves(lowest), "i")  # the lowest on the way up: one place to read

    def _insert(self, lowest: list[int], left: int, right: int, number: int) -> None:
        """Keep number in the nodes that together cover the leaves from left to before right."""
        while left < right:
            if left & 1:
                self._keep(lowest, left, number)
                left += 1
            if right & 1:
                right -= 1
                self._keep(lowest, right, number)
            left >>= 1
            right >>= 1

    def _keep(self, lowest: list[int], node: int, number: int) -> None:
        known = lowest[node]
        if known == NONE:
            lowest[node] = number
            return
        numbers = self.several.get(node)
        if numbers is None:
            numbers = Numbers()
            numbers.add(i64(known))
            self.several[node] = numbers
        numbers.add(i64(number))
        lowest[node] = numbers.all[0]

    def next(self, value: i64, start: i64) -> i64:
        """Return the lowest rule number, not below start, whose range holds value, or NONE.

        value and all ranges are below 2**62.
        """
        return NONE if self.empty else self._up(place_in(self.starts, value) - 1, start)

    def next_big(self, value: int, start: i64) -> i64:
        """Return the same for ranges of any size."""
        if self.empty:
            return NONE
        if not self.big_starts:
            return self.next(i64(min(value, FITS_A_WORD)), start)
        leaf: i64 = bisect_right(self.big_starts, value) - 1
        return self._up(leaf, start)

    def _up(self, leaf: i64, start: i64) -> i64:
        """Return the lowest rule number, not below start, in the nodes from a leaf to the root."""
        if start <= 0:
            return i64(read_i32_be(self.of_leaf, leaf * 4))
        node = leaf + self.leaves
        lowest = self.lowest
        best = NONE
        while node > 0:
            number = i64(read_i32_be(lowest, node * 4))
            if number < start:
                numbers = self.several.get(int(node))
                number = NONE if numbers is None else numbers.next(start)
            if number < best:
                best = number
            node >>= 1
        return best


def _of_leaves(lowest: list[int]) -> list[int]:
    """Return for each leaf the lowest number in the nodes from there to the root; lowest are all nodes'."""
    best = lowest[:]
    for node in range(2, len(best)):
        above = best[node >> 1]
        if above < best[node]:
            best[node] = above
    return best[len(best) // 2 :]
