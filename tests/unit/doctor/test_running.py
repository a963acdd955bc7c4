"""What of a status document somebody should look at."""

from typing import Any

from tunproxy.doctor.finding import State
from tunproxy.doctor.running import judge_running

DOCUMENT: dict[str, Any] = {
    "name": "tun0",
    "problems": [],
    "drops": {"bad-checksum": 0, "multicast": 12},
    "workers": [{"pid": 5, "descriptors": 10, "descriptor_limit": 1000}],
    "flows": {"tcp": 3, "udp": 2},
}


def test_one_that_has_nothing_to_tell_is_fine() -> None:
    [found] = judge_running(DOCUMENT)
    assert found.state is State.FINE
    assert "3 TCP connections and 2 UDP ports" in found.says


def test_problems_telling_drops_and_descriptors_are_told() -> None:
    document = DOCUMENT | {
        "problems": ["a plugin rests"],
        "drops": {"bad-checksum": 9},
        "workers": [{"pid": 5, "descriptors": 950, "descriptor_limit": 1000}],
    }
    found = judge_running(document)
    assert [each.state for each in found] == [State.ODD] * 3
    assert [each.says for each in found] == [
        "a plugin rests",
        "9 packets dropped as bad-checksum",
        "worker 5 has 950 of 1,000 descriptors in use",
    ]
