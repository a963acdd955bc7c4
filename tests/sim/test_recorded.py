"""Our engine takes whatever a real kernel sent, over every kind of path: see ``replay``.

``pytest tests/sim/test_recorded.py --conversation NAME`` plays one conversation and prints every packet;
``python -m tests.sim.record`` records them anew.
"""

import pytest

from tests.sim.conversations import ALL
from tests.sim.recording import INDEX, PLACE, figures, packets
from tests.sim.replay import Replay
from tests.sim.timeline import Broken

MOST_OCTETS = 300_000  # of all captures


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--conversation", default=None)
        metafunc.parametrize("name", [asked] if asked else sorted(ALL))


def test_kernel_is_understood(name: str, pytestconfig: pytest.Config) -> None:
    log: list[str] = []
    replay = Replay(name, figures()[name], log)
    try:
        replay.run()
        assert replay.lessened == 0
    finally:
        if pytestconfig.getoption("--conversation", default=None):
            print(*log, sep="\n")


def test_replay_is_the_same_every_time() -> None:
    found = figures()["everything"]
    traces = set()
    for _ in range(2):
        replay = Replay("everything", found)
        replay.run()
        traces.add(replay.outcome.trace)
    assert len(traces) == 1


@pytest.mark.parametrize("asked", ["super-packets", "super-packets-ipv6"])
def test_kernel_is_understood_by_an_engine_that_sends_less_at_a_time(asked: str) -> None:
    replay = Replay(asked, figures()[asked], cwnd=0, tso=False)
    replay.run()
    assert replay.lag > 0
    assert replay.lessened > 0


def test_replay_notices_an_octet_that_differs() -> None:
    """A replay that nothing can make fail proves nothing."""
    replay = Replay("super-packets", figures()["super-packets"])  # whose sums nobody looks at
    largest = max(replay._packets, key=lambda packet: len(packet.frame))
    largest.frame = largest.frame[:-1] + bytes((largest.frame[-1] ^ 1,))
    with pytest.raises(Broken, match="stream is wrong"):
        replay.run()


def test_replay_notices_a_packet_that_is_missing() -> None:
    replay = Replay("up", figures()["up"])
    del replay._packets[3]
    with pytest.raises(Broken):
        replay.run()


def test_recorded_is_small_and_complete() -> None:
    files = list(PLACE.iterdir())
    assert {file.name for file in files} == {f"{name}.pcap" for name in ALL} | {INDEX.name}
    assert sum(file.stat().st_size for file in files) <= MOST_OCTETS
    assert set(figures()) == set(ALL)


def test_recorded_holds_what_it_is_meant_to_hold() -> None:
    found = figures()
    ends = {fields.closed for fields in found.values()}
    assert ends == {"finished", "reset by peer", "reset by us"}
    assert found["corruption"].refused > 0
    assert sum(len(packets(name)) for name in ALL) > 800
    assert sum(fields.sent for fields in found.values()) > 100_000
