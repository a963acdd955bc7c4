"""Whether what a program behind a device sends itself comes back into it."""

import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.doctor.looks import Ways, device
from tunproxy.device.tun import open_tun
from tunproxy.doctor.devices import Holder
from tunproxy.doctor.examine import examine
from tunproxy.doctor.finding import State
from tunproxy.doctor.loops import judge_loops, judge_own_loops
from tunproxy.host.netlink import Netlink, Way


def processes(proc: Path, **namespaces: str) -> Path:
    """Make a /proc of processes p7 and so on, each in a network namespace; ours is net:[1]."""
    for name, namespace in {"self": "net:[1]", **namespaces}.items():
        folder = proc / name.removeprefix("p")
        (folder / "ns").mkdir(parents=True)
        (folder / "ns/net").symlink_to(namespace)
        (folder / "status").write_text("Name:\tproxy\nUid:\t1000\t1001\t1001\t1001\n")
    return proc


@pytest.mark.parametrize(
    ("way", "state", "says"),
    [
        (Way("tun0", "", ""), State.ODD, "over IPv4 and IPv6 comes back into tun0, unless it marks"),
        (Way("eth0", "192.0.2.1", ""), State.FINE, "does not come back into tun0"),
        (None, State.FINE, "does not come back into tun0"),
    ],
)
def test_way_of_the_program_itself_tells(tmp_path: Path, way: Way | None, state: State, says: str) -> None:
    proc = processes(tmp_path, p7="net:[1]")
    [found] = judge_loops(cast(Netlink, Ways(way)), device((Holder(7, "proxy"),)), proc)
    assert found.state is state
    assert says in found.says
    assert "uid 1001" in found.evidence[0]
    assert ("uidrange 1001-1001" in found.mend) == (state is State.ODD)


def test_program_of_another_network_namespace_or_that_has_ended_is_left_out(tmp_path: Path) -> None:
    proc = processes(tmp_path, p7="net:[2]")
    net = cast(Netlink, Ways(Way("tun0", "", "")))
    assert judge_loops(net, device((Holder(7, "far"), Holder(8, "gone"))), proc) == []


@pytest.mark.parametrize(
    ("document", "states"),
    [
        ({}, []),
        ({"loops": {"cut": 0, "last": []}}, [State.FINE]),
        ({"loops": {"cut": 50, "last": ["loop: flows to x come from y"]}}, [State.ODD]),
    ],
)
def test_tunproxy_tells_of_its_own(document: dict[str, Any], states: list[State]) -> None:
    found = judge_own_loops(document)
    assert [each.state for each in found] == states
    assert all(not each.mend or each.evidence == ("loop: flows to x come from y",) for each in found)


@needs_namespaces
@pytest.mark.needs("ip")
def test_program_whose_own_packets_come_back_is_found_out_and_mended() -> None:
    def run(words: str) -> None:
        subprocess.run(["ip", *words.split()], check=True, timeout=10)

    def loops() -> list[tuple[State, str]]:
        return [(each.state, each.mend) for each in examine("loop0") if each.subject == "loops"]

    def check() -> None:
        opened = open_tun("loop0")
        for words in (
            "link set lo up",
            "link add a0 type veth peer name a1",
            "address add 192.0.2.1/24 dev a0",
            "link set a0 up",
            "link set a1 up",
            "link set loop0 up",
            "route add default via 192.0.2.9 dev a0",
            "route add default dev loop0 table 100",
            "rule add pref 100 lookup 100",
        ):
            run(words)
        [(state, mend)] = loops()
        assert state is State.ODD
        run(mend.partition("ip ")[2])  # what it says mends it
        assert [state for state, _ in loops()] == [State.FINE]
        opened.close()

    isolated(check)
