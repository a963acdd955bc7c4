"""The congestion window is RFC 5681's, with the factor and the growth of RFC 9438."""

import pytest

from tunproxy.tcp.congestion import UNTHROTTLED, Congestion, initial_window

RTT = 20_000


def acked(congestion: Congestion, octets: int, *, now: int = 0, is_used: bool = True) -> None:
    congestion.on_ack(octets, is_used, RTT, now)


@pytest.mark.parametrize(
    ("flight_size", "cwnd", "ssthresh"), [(10_000, 7000, 7000), (2000, 1400, 2000), (300, 1000, 2000)]
)
def test_echo_reduces_as_a_loss_does_but_down_to_one_segment(
    flight_size: int, cwnd: int, ssthresh: int
) -> None:
    """RFC 9438 §4.6."""
    congestion = Congestion(1000, 10_000)
    congestion.on_echo(flight_size)
    assert (congestion.cwnd, congestion.ssthresh) == (cwnd, ssthresh)


def test_echo_lets_no_window_grow() -> None:
    congestion = Congestion(1000, 1000)
    congestion.on_echo(10_000)
    assert congestion.cwnd == 1000


@pytest.mark.parametrize(
    ("mss", "window"),
    [(536, 5360), (1220, 12200), (1460, 14600), (2000, 14600), (8960, 17920), (65495, 130990)],
)
def test_initial_window_is_that_of_rfc_6928(mss: int, window: int) -> None:
    assert initial_window(mss) == window


def test_slow_start_grows_by_what_was_acknowledged() -> None:
    """RFC 5681 §3.1, with the limit of RFC 3465: two segments for one ACK."""
    congestion = Congestion(1000, 10_000)
    acked(congestion, 700)
    assert congestion.cwnd == 10_700
    acked(congestion, 50_000)
    assert congestion.cwnd == 12_700


def test_slow_start_does_not_grow_what_is_not_used() -> None:
    """RFC 9438 §5.8."""
    congestion = Congestion(1000, 10_000)
    acked(congestion, 1000, is_used=False)
    assert congestion.cwnd == 10_000


def test_congestion_avoidance_grows_by_half_a_segment_per_short_round_trip() -> None:
    """RFC 9438 §4.3: alpha is 0.53 where beta is 0.7, as fast as Reno over a saw tooth."""
    congestion = Congestion(1000, 10_000)
    congestion.on_loss(10_000)
    assert congestion.cwnd == 7000
    for _ in range(7):
        acked(congestion, 1000)
    assert 7500 <= congestion.cwnd <= 7530


def test_congestion_avoidance_does_not_grow_what_is_not_used() -> None:
    """RFC 9438 §5.8: nor does the time count meanwhile."""
    used, unused = Congestion(1000, 1_000_000), Congestion(1000, 1_000_000)
    for congestion in (used, unused):
        congestion.on_loss(1_000_000)
        acked(congestion, 1000)
    for now in range(RTT, 100 * RTT, RTT):
        acked(unused, 100_000, now=now, is_used=False)
    assert unused.cwnd == used.cwnd
    acked(unused, 100_000, now=100 * RTT)
    acked(used, 100_000, now=RTT)
    assert unused.cwnd == used.cwnd


def test_idle_time_does_not_count() -> None:
    """RFC 9438 §5.8."""
    busy, idle = Congestion(1000, 1_000_000), Congestion(1000, 1_000_000)
    for congestion in (busy, idle):
        congestion.on_loss(1_000_000)
        acked(congestion, 1000)
    idle.on_idle_end(0, 200_000, 10_000, 5_000_000)
    acked(idle, 100_000, now=5_000_000 + RTT)
    acked(busy, 100_000, now=RTT)
    assert idle.cwnd == busy.cwnd


def test_idle_for_a_timeout_begins_anew() -> None:
    """RFC 5681 §4.1: the restart window is the initial one, or cwnd where that is less."""
    congestion = Congestion(1000, 40_000)
    congestion.on_idle_end(200_000, 200_000, 10_000, 0)
    assert congestion.cwnd == 40_000
    congestion.on_idle_end(200_001, 200_000, 10_000, 0)
    assert congestion.cwnd == 10_000
    congestion.on_idle_end(200_001, 200_000, UNTHROTTLED, 0)
    assert congestion.cwnd == 10_000


def test_loss_leaves_seven_tenths_of_what_was_under_way() -> None:
    """RFC 9438 §4.6, RFC 6675 §5 step 4.2."""
    congestion = Congestion(1000, 40_000)
    congestion.on_loss(30_000)
    assert (congestion.cwnd, congestion.ssthresh) == (21_000, 21_000)


def test_loss_leaves_two_segments() -> None:
    congestion = Congestion(1000, 10_000)
    congestion.on_loss(1500)
    assert (congestion.cwnd, congestion.ssthresh) == (2000, 2000)


def test_timeout_leaves_one_segment_and_lowers_the_threshold() -> None:
    """RFC 5681 §3.1, RFC 9438 §4.8."""
    congestion = Congestion(1000, 40_000)
    congestion.on_timeout(30_000, True)
    assert (congestion.cwnd, congestion.ssthresh) == (1000, 21_000)


def test_timeout_again_leaves_the_threshold_alone() -> None:
    """RFC 5681 §3.1: ssthresh is held constant when a retransmission is lost."""
    congestion = Congestion(1000, 40_000)
    congestion.on_timeout(30_000, True)
    congestion.on_timeout(1000, False)
    assert (congestion.cwnd, congestion.ssthresh) == (1000, 21_000)


def test_reduction_that_was_needless_is_taken_back_with_the_growth_it_stopped() -> None:
    """RFC 9438 §4.9.2."""
    congestion, other = Congestion(1000, 100_000), Congestion(1000, 100_000)
    for one in (congestion, other):
        one.on_loss(100_000)
        acked(one, 50_000, now=RTT)
    before = congestion.cwnd
    congestion.on_loss(50_000)
    assert congestion.cwnd == 35_000
    congestion.undo(before, 70_000)
    for now in range(2 * RTT, 200 * RTT, RTT):
        acked(congestion, 50_000, now=now)
        acked(other, 50_000, now=now)
    assert congestion.cwnd == other.cwnd > 100_000


def test_unthrottled_window_neither_grows_nor_overflows() -> None:
    congestion = Congestion(1000, UNTHROTTLED)
    for _ in range(100):
        acked(congestion, 1 << 30)
    assert congestion.cwnd == UNTHROTTLED


def test_unthrottled_window_learns_from_loss() -> None:
    """What was allowed but not under way says nothing: W_max is what was."""
    congestion = Congestion(1000, UNTHROTTLED)
    congestion.on_loss(100_000)
    assert congestion.cwnd == 70_000
    acked(congestion, 1000)
    assert 70_000 < congestion.cwnd < 71_000


def test_window_never_leaves_its_bounds() -> None:
    congestion = Congestion(65_495, UNTHROTTLED)
    congestion.on_loss(UNTHROTTLED)
    for now in range(0, 1 << 40, 1 << 34):
        acked(congestion, 1 << 30, now=now)
        assert congestion.cwnd <= UNTHROTTLED
    assert congestion.cwnd == UNTHROTTLED
