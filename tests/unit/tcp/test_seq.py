"""Sequence numbers wrap, and comparisons follow (RFC 9293 §3.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub

NUMBERS = st.integers(0, 2**32 - 1)
NEAR = st.integers(-(2**31) + 1, 2**31 - 1)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (0, 1, -1),
        (0, 0xFFFF_FFFF, 1),
        (0xFFFF_FFFF, 0, -1),
        (0x7FFF_FFFF, 0, 2**31 - 1),
        (0x8000_0000, 0, -(2**31)),
        (0, 0x8000_0000, -(2**31)),
        (0x1000_0000, 0xF000_0000, 0x2000_0000),
    ],
)
def test_seq_sub_known_pairs(a: int, b: int, distance: int) -> None:
    assert seq_sub(a, b) == distance
    assert seq_lt(a, b) == (distance < 0)


def test_seq_add_wraps() -> None:
    assert seq_add(0xFFFF_FFFF, 1) == 0
    assert seq_add(0xFFFF_FFF0, 0x20) == 0x10
    assert seq_add(0, -1) == 0xFFFF_FFFF


@given(NUMBERS, NEAR)
def test_seq_arithmetic_agrees_with_distances(a: int, distance: int) -> None:
    b = seq_add(a, distance)
    assert b == (a + distance) % 2**32
    assert seq_sub(b, a) == distance
    assert seq_lt(a, b) == (distance > 0)
    assert seq_le(a, b) == (distance >= 0)
    assert seq_max(a, b) == seq_max(b, a) == (b if distance > 0 else a)


@given(NUMBERS)
def test_seq_le_is_reflexive_and_seq_lt_is_not(a: int) -> None:
    assert seq_le(a, a)
    assert not seq_lt(a, a)
