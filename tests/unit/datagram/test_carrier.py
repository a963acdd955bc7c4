"""How many datagrams octets are."""

import pytest

from tunproxy.datagram.carrier import count_datagrams


@pytest.mark.parametrize(
    ("size", "unit", "count"), [(0, 0, 1), (100, 0, 1), (0, 10, 1), (10, 10, 1), (11, 10, 2), (640, 10, 64)]
)
def test_datagrams_are_counted(size: int, unit: int, count: int) -> None:
    assert count_datagrams(size, unit) == count
