"""Growth in congestion avoidance is RFC 9438's, compared with its equations in floating point."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.tcp.cubic import Cubic, cube_root

MSS = 1000
SECOND = 1_000_000


@given(st.integers(0, 2**63 - 1))
def test_cube_root_is_exact(value: int) -> None:
    root = cube_root(value)
    assert root**3 <= value
    assert (root + 1) ** 3 > value or root == 2**21 - 1


@pytest.mark.parametrize("root", [0, 1, 2, 3, 1000, 2**20, 2**21 - 1])
def test_cube_root_at_a_cube(root: int) -> None:
    assert cube_root(root**3) == root
    if root > 0:
        assert cube_root(root**3 - 1) == root - 1


def reduced(w_max: int) -> Cubic:
    cubic = Cubic()
    cubic.reduce(w_max, False)
    return cubic


def runs(cubic: Cubic, cwnd: int, rtt: int, until: int, start: int = 0) -> list[int]:
    """Return the window after each round trip, in which each second segment is acknowledged."""
    found = []
    now = start
    while now <= until:
        left = cwnd
        while left > 0:
            cwnd = cubic.grown(cwnd, MSS, min(2 * MSS, left), rtt, now)
            left -= 2 * MSS
        found.append(cwnd)
        now += rtt
    return found


@pytest.mark.parametrize("w_max", [200, 1000, 5000])
@pytest.mark.parametrize("rtt", [100_000, 200_000])
def test_window_follows_the_cubic_function(w_max: int, rtt: int) -> None:
    """Figure 1 and figure 2: W_cubic(t + RTT) at each round trip, where Reno would be slower."""
    k = (w_max * 0.3 / 0.4) ** (1 / 3)
    until = int(2 * k * SECOND)
    found = runs(reduced(w_max * MSS), w_max * 700, rtt, until)
    for number, cwnd in list(enumerate(found))[1:]:  # at 0 W_est is ahead
        t = number * rtt / SECOND
        wanted = 0.4 * (t + rtt / SECOND - k) ** 3 + w_max
        assert cwnd / MSS == pytest.approx(wanted, rel=0.03)


def test_window_is_back_at_w_max_after_k_and_flat_there() -> None:
    """§4.2: K is the cubic root of (W_max - cwnd_epoch) / C: for 900 segments less 30 %, 8.77 s."""
    found = runs(reduced(900 * MSS), 630 * MSS, 100_000, 12 * SECOND)
    assert found[60] < 899 * MSS * 0.999
    assert found[87] == pytest.approx(900 * MSS, rel=0.001)
    assert found[95] - found[80] < 2 * MSS
    assert found[110] > 903 * MSS


def test_short_path_grows_as_reno_would() -> None:
    """§4.3: alpha 9/17 of a segment a round trip, and a whole one above the old window."""
    found = runs(reduced(20 * MSS), 14 * MSS, 1000, 40_000)
    below = [b - a for a, b in pairwise(found) if b < 20 * MSS]
    above = [b - a for a, b in pairwise(found) if a > 20 * MSS + 500]
    assert below
    assert above
    assert all(9 / 17 * MSS * 0.94 < step <= 9 / 17 * MSS + 1 for step in below)
    assert all(0.94 * MSS < step <= MSS + 1 for step in above)


def test_growth_is_half_a_window_at_most_for_a_window_acknowledged() -> None:
    """§4.2: target is 1.5 cwnd at most, however late."""
    cubic = reduced(100 * MSS)
    cwnd = cubic.grown(70 * MSS, MSS, MSS, 1000, 0)
    assert cubic.grown(cwnd, MSS, 10 * cwnd, 1000, 1000 * SECOND) <= cwnd + cwnd // 2


def test_fast_convergence_aims_lower_when_the_window_shrinks() -> None:
    """§4.7: W_max becomes cwnd (1 + beta) / 2; two stages of 1000 and 800 aim at 680."""
    cubic = reduced(1000 * MSS)
    cubic.grown(700 * MSS, MSS, MSS, 100_000, 0)
    cubic.reduce(800 * MSS, False)
    k = ((680 - 560) / 0.4) ** (1 / 3)
    found = runs(cubic, 560 * MSS, 100_000, 20 * SECOND, start=10 * SECOND)
    assert found[int(k * 10)] == pytest.approx(680 * MSS, rel=0.001)


def test_stage_after_a_timeout_begins_on_the_plateau() -> None:
    """§4.8: K is 0 and W_max is cwnd at its beginning."""
    cubic = Cubic()
    cubic.reduce(1000 * MSS, True)
    found = runs(cubic, 700 * MSS, 100_000, 6 * SECOND)
    assert found[0] - 700 * MSS < MSS
    assert found[50] == pytest.approx((700 + 0.4 * 5.1**3) * MSS, rel=0.003)


def test_stage_above_the_old_window_begins_on_the_plateau() -> None:
    cubic = reduced(100 * MSS)
    found = runs(cubic, 500 * MSS, 100_000, SECOND)
    assert found[0] - 500 * MSS < MSS
    assert found[-1] > 500 * MSS


@given(
    w_max=st.integers(1, 1 << 30),
    cwnd=st.integers(64, 1 << 30),
    mss=st.integers(64, 65_495),
    acked=st.integers(1, 1 << 30),
    srtt=st.integers(0, 60 * SECOND),
    times=st.lists(st.integers(0, 1 << 50), max_size=5).map(sorted),
)
def test_window_never_shrinks_and_no_product_leaves_64_bits(
    w_max: int, cwnd: int, mss: int, acked: int, srtt: int, times: list[int]
) -> None:
    cubic = reduced(w_max)
    for now in times:
        grown = cubic.grown(cwnd, mss, acked, srtt, now)
        assert cwnd <= grown <= cwnd * 2 + mss
        cwnd = min(grown, 1 << 30)
