"""Which users are left alone, as ranges of numbers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tunproxy.host.scope import MAX_UID, Scope, complement, merged, subtract

RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    max_size=6,
)


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in ranges for n in range(first, min(last, 80) + 1)}


def test_nobody_is_left_alone_unless_it_is_said() -> None:
    assert Scope().users_left_alone() == []
    assert Scope(users=()).users_left_alone() == [(0, MAX_UID)]
    assert Scope(users=((0, 0), (1000, MAX_UID))).users_left_alone() == [(1, 999)]
    assert Scope(users=((1000, 1999),), excluded_users=((1500, 3000),)).users_left_alone() == [
        (0, 999),
        (1500, MAX_UID),
    ]


@given(RANGES, RANGES)
def test_ranges_are_sets_of_numbers(ranges: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    found = merged(ranges)
    assert numbers(found) == numbers(ranges)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(found))
    assert numbers(complement(ranges)) == set(range(81)) - numbers(ranges)
    assert numbers(subtract(ranges, others)) == numbers(ranges) - numbers(others)
    assert complement(complement(ranges)) == found
