"""The congestion window is RFC 5681's."""

import pytest

from tunproxy.tcp.congestion import UNTHROTTLED, Congestion, initial_window


@pytest.mark.parametrize(
    ("mss", "window"),
    [(536, 5360), (1220, 12200), (1460, 14600), (2000, 14600), (8960, 17920), (65495, 130990)],
)
def test_initial_window_is_that_of_rfc_6928(mss: int, window: int) -> None:
    assert initial_window(mss) == window


def test_slow_start_grows_by_what_was_acknowledged() -> None:
    """RFC 5681 §3.1, with the limit of RFC 3465: two segments for one ACK."""
    congestion = Congestion(1000, 10_000)
    congestion.on_ack(700)
    assert congestion.cwnd == 10_700
    congestion.on_ack(50_000)
    assert congestion.cwnd == 12_700


def test_congestion_avoidance_grows_by_a_segment_per_window() -> None:
    """RFC 5681 §3.1, equation 3."""
    congestion = Congestion(1000, 10_000)
    congestion.ssthresh = 10_000
    for _ in range(10):
        congestion.on_ack(1000)
    assert 10_900 <= congestion.cwnd <= 11_000


def test_congestion_avoidance_always_grows_a_little() -> None:
    congestion = Congestion(100, 1_000_000)
    congestion.ssthresh = 1
    congestion.on_ack(1)
    assert congestion.cwnd == 1_000_001


def test_loss_halves_what_was_under_way() -> None:
    """RFC 5681 equation 4, RFC 6675 §5 step 4.2."""
    congestion = Congestion(1000, 40_000)
    congestion.on_loss(30_000)
    assert (congestion.cwnd, congestion.ssthresh) == (15_000, 15_000)


def test_loss_leaves_two_segments() -> None:
    congestion = Congestion(1000, 10_000)
    congestion.on_loss(1500)
    assert (congestion.cwnd, congestion.ssthresh) == (2000, 2000)


def test_timeout_leaves_one_segment_and_half_the_threshold() -> None:
    """RFC 5681 §3.1."""
    congestion = Congestion(1000, 40_000)
    congestion.on_timeout(30_000, True)
    assert (congestion.cwnd, congestion.ssthresh) == (1000, 15_000)


def test_timeout_again_leaves_the_threshold_alone() -> None:
    """RFC 5681 §3.1: ssthresh is held constant when a retransmission is lost."""
    congestion = Congestion(1000, 40_000)
    congestion.on_timeout(30_000, True)
    congestion.on_timeout(1000, False)
    assert (congestion.cwnd, congestion.ssthresh) == (1000, 15_000)


def test_unthrottled_window_neither_grows_nor_overflows() -> None:
    congestion = Congestion(1000, UNTHROTTLED)
    for _ in range(100):
        congestion.on_ack(1 << 30)
    assert congestion.cwnd == UNTHROTTLED


def test_unthrottled_window_learns_from_loss() -> None:
    congestion = Congestion(1000, UNTHROTTLED)
    congestion.on_loss(100_000)
    assert congestion.cwnd == 50_000
    congestion.on_ack(1000)
    assert congestion.cwnd == 50_020
