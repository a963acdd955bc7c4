"""Rule numbers by key."""

from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.numbers import NONE, KeyIndex, Numbers


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), unique=True), st.integers(0, 21))
def test_key_finds_its_lowest_number_from_start_on(entries: list[tuple[str, int]], start: int) -> None:
    index = KeyIndex()
    for key, number in entries:
        index.add(key, number)
    for key in "abc":
        numbers = [number for other, number in entries if other == key and number >= start]
        assert index.next(key, start) == min(numbers, default=NONE)


def test_no_numbers_have_no_next() -> None:
    assert Numbers().next(0) == NONE
