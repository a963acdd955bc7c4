"""How long bad paths hold a transfer up: losses are found by what arrives, not by time-outs."""

import pytest

from tests.sim.apps import WHEN_SENT, AppPlan
from tests.sim.link import LinkPlan
from tests.sim.scenarios import CONTENT
from tests.sim.world import HostPlan, Scenario, run
from tunproxy import version
from tunproxy.tcp.congestion import UNTHROTTLED

SIZE = 1_000_000
SEEDS = 50 if version.is_compiled() else 15  # the arithmetic is the same, and takes three times as long


@pytest.mark.timeout(600)
def test_megabyte_each_way_at_ten_percent_loss_takes_seconds_not_minutes() -> None:
    """A round trip of 1 ms; with retransmissions that wait for time-outs the worst of these took 63 s."""
    stream = CONTENT[:SIZE]
    link = LinkPlan(delay=500, loss=0.1)
    host = HostPlan(AppPlan(stream, stream, ((0, SIZE),), closes=WHEN_SENT), cwnd=UNTHROTTLED)
    times = sorted(run(Scenario(seed, (host, host), (link, link))).elapsed for seed in range(SEEDS))
    assert times[SEEDS // 2] < 600_000
    assert times[-1] < 3_000_000, "a lost SYN takes a second, the second in a row two more"
