"""The parts of a worker that nothing has been asked of yet, on a device that is one end of a socket pair."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tunproxy.control.worker_parts import WorkerParts
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.device.tun import Offload, TunDevice
from tunproxy.flow.counters import Counters
from tunproxy.loop.dataplane import Dataplane
from tunproxy.loop.selector import PacketSelector

Make = Callable[..., WorkerParts]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make parts with these settings; closed at the end, once."""
    wire, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    device = TunDevice(ours.detach(), "test0", Offload(csum=True))
    counters = Counters()
    dataplane = Dataplane(device.fd, counters)
    loop = asyncio.SelectorEventLoop(PacketSelector(dataplane))
    made: list[WorkerParts] = []

    def parts(**settings: Any) -> WorkerParts:
        made.append(WorkerParts(WorkerSettings(device=device, **settings), loop, dataplane, counters))
        return made[0]

    yield parts
    for each in made:
        each.close()
    loop.close()
    dataplane.close()
    device.close()
    wire.close()


def test_each_question_has_one_answer(make: Make) -> None:
    plain, with_fd = make().answers()
    assert not plain.keys() & with_fd.keys()
    assert {"status", "commit", "abandon"} <= plain.keys()
    assert {"reload", "prepare", "uplink", "capture", "history"} <= with_fd.keys()


def test_policy_in_force_is_told_before_anything_has_changed(make: Make) -> None:
    plain, _ = make(generation=7).answers()
    assert plain["policy"]()["generation"] == 7


def test_loops_are_looked_for_where_somebody_knows_whose_a_flow_is(make: Make) -> None:
    supervisor, owners = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with supervisor:
        plain, _ = make(owners=owners).answers()
        assert "loops" in plain["status"]()


def test_nobody_looks_for_loops_otherwise(make: Make) -> None:
    plain, with_fd = make().answers()
    assert "loops" not in plain["status"]()
    assert "retell" not in with_fd
