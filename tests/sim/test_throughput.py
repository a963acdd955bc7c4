"""How fast a transfer is, by loss, round trip and buffer: a table that is the same on every machine.

The simulator is deterministic, so ``throughput.txt`` is compared to the letter. A change that means to
change it writes it anew (``pytest tests/sim/test_throughput.py --write-table``) and shows the difference.
"""

from pathlib import Path

import pytest

from tests.sim.apps import AT_END, WHEN_DONE, AppPlan
from tests.sim.link import LinkPlan
from tests.sim.scenarios import CONTENT, MILLI, SACK_PERMITTED
from tests.sim.world import HostPlan, Outcome, Scenario, run

TABLE = Path(__file__).with_name("throughput.txt")
SIZE = 1_000_000
STREAM = CONTENT[:SIZE]
RATE = 12_500_000  # 100 Mbit/s
LOSSES = (0.0, 0.001, 0.01, 0.03)
ROUND_TRIPS = (1 * MILLI, 20 * MILLI, 100 * MILLI)
BUFFERS = (1 << 16, 1 << 20)
HEAD = f"""\
{SIZE // 1000:,} kB from server to client, 100 Mbit/s, MTU 1500, a queue of one round trip (30 kB at least),
loss in both directions: Mbit/s (segments sent again)
"""


def transfer(loss: float, round_trip: int, rcv_buf: int, *, sack: bool) -> Outcome:
    link = LinkPlan(
        delay=round_trip // 2,
        loss=loss,
        rate=RATE,
        queue=max(RATE * round_trip // 1_000_000, 30_000),
        strips=() if sack else (SACK_PERMITTED,),
    )
    client = HostPlan(AppPlan(b"", STREAM, ((0, 0),), closes=AT_END), rcv_buf=rcv_buf)
    server = HostPlan(AppPlan(STREAM, b"", ((0, SIZE),), closes=WHEN_DONE), tso=False)
    return run(Scenario(7, (client, server), (link, link)))


def cell(outcome: Outcome) -> str:
    speed = SIZE * 8 * 10 // outcome.elapsed
    return f"{speed // 10:>4}.{speed % 10} ({outcome.retransmits[1]:>3})"


def rows() -> list[str]:
    found = [
        " " * 12
        + "   ".join(f"{size // 1024:>8} KiB" for size in BUFFERS)
        + f"   {BUFFERS[-1] // 1024:>4} KiB, no SACK"
    ]
    for loss in LOSSES:
        for round_trip in ROUND_TRIPS:
            cells = [cell(transfer(loss, round_trip, rcv_buf, sack=True)) for rcv_buf in BUFFERS]
            cells.append(cell(transfer(loss, round_trip, BUFFERS[-1], sack=False)))
            found.append(f"{loss * 100:>3.1f} % {round_trip // MILLI:>3} ms   " + "   ".join(cells))
    return found


@pytest.mark.timeout(300)
def test_throughput_is_what_the_table_says(pytestconfig: pytest.Config) -> None:
    found = "\n".join([HEAD, *rows()]) + "\n"
    if pytestconfig.getoption("--write-table", default=False):
        TABLE.write_text(found)
    assert found == TABLE.read_text(), "see the docstring of this file"
