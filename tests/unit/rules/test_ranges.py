"""Ranges of integers."""

from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.numbers import NONE
from tunproxy.rules.ranges import RangeIndex, RangeSet, merged

RANGES = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair)))


@given(st.lists(RANGES), st.integers(0, 62))
def test_set_has_what_a_range_has(ranges: list[tuple[int, int]], value: int) -> None:
    assert RangeSet(ranges).has(value) == any(first <= value <= last for first, last in ranges)


@given(st.lists(RANGES), st.integers(0, 62), st.integers(0, 10))
def test_index_finds_the_lowest_rule_from_start_on(
    ranges: list[tuple[int, int]], value: int, start: int
) -> None:
    index = RangeIndex([(first, last, number) for number, (first, last) in enumerate(ranges)])
    numbers = [n for n, (first, last) in enumerate(ranges) if first <= value <= last and n >= start]
    assert index.next(value, start) == min(numbers, default=NONE)


def test_ranges_that_touch_become_one() -> None:
    assert merged([(5, 9), (0, 2), (3, 4), (7, 8), (11, 11)]) == [(0, 9), (11, 11)]


@given(st.lists(RANGES), st.integers(0, 62), st.integers(0, 6), st.sampled_from([0, 100]))
def test_wide_values_are_found_in_the_same_way(
    ranges: list[tuple[int, int]], value: int, start: int, shift: int
) -> None:
    wide = [(first << shift, last << shift) for first, last in ranges]
    index = RangeIndex([(first, last, number) for number, (first, last) in enumerate(wide)])
    value <<= shift
    numbers = [n for n, (first, last) in enumerate(wide) if first <= value <= last and n >= start]
    assert index.next_big(value, start) == min(numbers, default=NONE)
    assert RangeSet(wide).has_big(value) == any(first <= value <= last for first, last in wide)


def test_value_of_128_bits_is_in_no_small_range() -> None:
    assert not RangeSet([(0, 5)]).has_big(1 << 127)
    assert RangeIndex([(0, 5, 0)]).next_big(1 << 127, 0) == NONE
    assert RangeIndex([(0, (1 << 128) - 1, 3)]).next_big((1 << 128) - 1, 0) == 3
