"""Proportional Rate Reduction: how much goes out for what arrives (RFC 6937)."""

import pytest

from tunproxy.tcp.prr import Prr

MSS = 1000


def recovering(flight_size: int) -> Prr:
    prr = Prr()
    prr.start(flight_size)
    return prr


def test_half_of_what_arrives_goes_out_while_more_is_under_way_than_allowed() -> None:
    prr, sent = recovering(20_000), 0
    for number in range(1, 11):
        prr.on_ack(MSS, 20_000 - number * MSS + sent, 10_000, MSS)
        count = prr.room // MSS * MSS
        prr.on_sent(count)
        sent += count
    assert sent == 5 * MSS


def test_bound_lets_one_segment_more_out_than_arrives() -> None:
    """The Slow Start Reduction Bound: many were lost at once."""
    prr = recovering(20_000)
    prr.on_ack(2 * MSS, 1000, 10_000, MSS)
    assert prr.room == 3 * MSS


def test_bound_never_passes_the_threshold() -> None:
    prr = recovering(20_000)
    prr.on_ack(10 * MSS, 8500, 10_000, MSS)
    assert prr.room == 1500


@pytest.mark.parametrize("pipe", [0, 10_000, 10_001, 1 << 30])
def test_room_is_never_negative(pipe: int) -> None:
    prr = recovering(0)
    prr.on_sent(50_000)
    prr.on_ack(0, pipe, 10_000, MSS)
    assert prr.room >= 0


def test_recovery_begins_and_ends_with_no_room() -> None:
    prr = recovering(20_000)
    prr.on_ack(5000, 0, 10_000, MSS)
    prr.start(10_000)
    assert (prr.is_on, prr.room) == (True, 0)
    prr.on_ack(5000, 0, 10_000, MSS)
    prr.stop()
    assert (prr.is_on, prr.room) == (False, 0)
