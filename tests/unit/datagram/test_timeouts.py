"""Idle times by target port."""

import pytest

from tunproxy.datagram.timeouts import idle_limit

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("port", "seconds"),
    [(53, 10), (123, 10), (3478, 10), (443, 30), (853, 30), (5349, 30), (5684, 30), (5353, 300), (1, 300)],
    ids=str,
)
def test_known_ports_have_times_of_their_own(port: int, seconds: int) -> None:
    assert idle_limit(port, 300 * SECOND) == seconds * SECOND


@pytest.mark.parametrize("port", [53, 443, 5353])
def test_no_port_stays_longer_than_the_setting(port: int) -> None:
    assert idle_limit(port, 2 * SECOND) == 2 * SECOND
