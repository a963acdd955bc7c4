"""What a worker tells of itself."""

import asyncio
import json
import os
import types
from contextlib import closing

import pytest

from tests.unit.loop.rig import Rig, syn
from tunproxy.control import keeper, snapshot
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.live_names import LiveNames
from tunproxy.control.policy import built_in_sources
from tunproxy.control.snapshot import MAX_TEXT, Snapshot
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.opening import AsyncOpener, OpenerStatistics
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.wire.reasons import NAMES


class IdleOpener(AsyncOpener):
    def __init__(self) -> None:
        pass

    def statistics(self) -> OpenerStatistics:
        return OpenerStatistics(1, 2, 3, {"far": 4})


def snapshot_of(rig: Rig) -> Snapshot:
    with closing(asyncio.new_event_loop()) as loop:
        sockets = KernelSockets(0, "")
        names = LiveNames(loop, rig.dataplane, sockets, AsyncDialer(loop, sockets))
    keeper = PolicyKeeper(built_in_sources())
    return Snapshot(rig.counters, rig.tcp, rig.datagrams, IdleOpener(), keeper, names)


def taken(rig: Rig) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(json.dumps(snapshot_of(rig)()))
    return found


def test_snapshot_counts_flows_traffic_and_drops() -> None:
    rig = Rig()
    rig.wire.send(syn(9))
    rig.wire.send(bytes(10) + b"\x55")
    while rig.counters.frames_in < 2:
        rig.dataplane.poll(0)
    found = taken(rig)
    assert found["traffic"]["frames_in"] == 2
    assert found["traffic"]["bytes_in"] == len(syn(9)) - 10 + 1
    assert found["drops"]["truncated"] + found["drops"]["bad-version"] == 1
    assert set(found["drops"]) == set(NAMES[1:])
    assert found["opener"] == {"pending": 1, "opened": 2, "failed": 3}
    assert found["upstream_faults"] == {"far": 4}
    assert found["worker"]["pid"] == os.getpid()
    assert found["dns"] == {}
    assert found["policy"] == PolicyKeeper(built_in_sources()).state()
    assert found["worker"]["memory_bytes"] > 1 << 20
    assert not {"bytes_in", "turns", "drop_truncated"} & set(found["counters"])
    rig.close()


def test_descriptors_are_counted() -> None:
    before = snapshot.count_descriptors()
    pipe = os.pipe()
    assert snapshot.count_descriptors() == before + 2
    for fd in pipe:
        os.close(fd)


def test_descriptors_are_counted_on_older_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = snapshot.count_descriptors()
    monkeypatch.setattr(os, "stat", lambda path: types.SimpleNamespace(st_size=0))
    assert snapshot.count_descriptors() == expected


def test_problem_of_a_plugin_is_told_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Plugins):
        @property
        def problems(self) -> dict[str, str]:
            return {"odd": "x" * 10_000}

    plugins = Odd()
    plugins.load_installed()
    monkeypatch.setattr(keeper, "load_plugins", lambda sources: plugins)
    rig = Rig()
    assert snapshot_of(rig)()["plugin_problems"] == {"odd": "x" * MAX_TEXT}
    rig.close()
