"""The retransmission time-out is RFC 6298's, number by number."""

import pytest

from tunproxy.tcp.rtt import RTO_INITIAL, RTO_MAX, RTO_MIN, RttEstimator


def test_rto_before_a_sample_is_one_second() -> None:
    """RFC 6298 §2.1."""
    assert RttEstimator().rto == RTO_INITIAL == 1_000_000


def test_first_sample_sets_srtt_and_half_of_it_as_variance() -> None:
    """RFC 6298 §2.2: SRTT <- R, RTTVAR <- R/2, RTO <- SRTT + 4 RTTVAR."""
    rtt = RttEstimator()
    rtt.sample(400_000)
    assert (rtt.srtt, rtt.rttvar, rtt.rto) == (400_000, 200_000, 1_200_000)


def test_second_sample_is_weighed_in() -> None:
    """RFC 6298 §2.3: RTTVAR <- 3/4 RTTVAR + 1/4 |SRTT - R'|, then SRTT <- 7/8 SRTT + 1/8 R'."""
    rtt = RttEstimator()
    rtt.sample(400_000)
    rtt.sample(800_000)
    assert rtt.rttvar == 250_000  # 150,000 + 100,000: with the old SRTT
    assert rtt.srtt == 450_000
    assert rtt.rto == 1_450_000


def test_sample_below_the_mean_counts_by_its_distance() -> None:
    rtt = RttEstimator()
    rtt.sample(400_000)
    rtt.sample(0)
    assert (rtt.srtt, rtt.rttvar) == (350_000, 250_000)


def test_steady_samples_let_the_variance_fade() -> None:
    rtt = RttEstimator()
    for _ in range(100):
        rtt.sample(300_000)
    assert rtt.srtt == 300_000
    assert rtt.rttvar <= 4  # what integer division leaves
    assert 300_000 <= rtt.rto <= 300_016


@pytest.mark.parametrize("sample", [0, 1, 50, 40_000])
def test_rto_is_not_below_its_minimum(sample: int) -> None:
    rtt = RttEstimator()
    rtt.sample(sample)
    assert rtt.rto == RTO_MIN


def test_rto_is_not_above_its_maximum() -> None:
    """RFC 6298 §2.5: a maximum may be set, if it is 60 s at least."""
    assert RTO_MAX >= 60_000_000
    rtt = RttEstimator()
    rtt.sample(100_000_000)
    assert rtt.rto == RTO_MAX


def test_back_off_doubles_up_to_the_maximum() -> None:
    """RFC 6298 §5.5."""
    rtt = RttEstimator()
    found = []
    for _ in range(8):
        found.append(rtt.rto // 1_000_000)
        rtt.back_off()
    assert found == [1, 2, 4, 8, 16, 32, 60, 60]


def test_sample_ends_the_back_off() -> None:
    """RFC 6298 §5.7: the time-out that follows a measurement is computed anew."""
    rtt = RttEstimator()
    rtt.sample(100_000)
    before = rtt.rto
    for _ in range(5):
        rtt.back_off()
    rtt.sample(100_000)
    assert rtt.rto <= before


def test_many_samples_of_one_round_trip_weigh_as_one() -> None:
    """RFC 7323 appendix G: alpha and beta are divided by how many there are."""
    one, many = RttEstimator(), RttEstimator()
    for rtt in (one, many):
        rtt.sample(100_000)
    one.sample(200_000)
    for _ in range(50):
        many.sample(200_000, 50)
    assert many.srtt == pytest.approx(one.srtt, rel=0.02)
    assert many.rttvar == pytest.approx(one.rttvar, rel=0.05)


def test_samples_that_differ_by_little_are_not_lost_in_division() -> None:
    rtt = RttEstimator()
    rtt.sample(100)
    for _ in range(10_000):
        rtt.sample(130, 100)
    assert rtt.srtt == pytest.approx(130, abs=1)
