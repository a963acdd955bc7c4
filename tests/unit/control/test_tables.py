"""Tables that are made as settings and limits want them."""

import socket
from typing import Any  # what the tables are made with

import pytest

from tunproxy.control import tables
from tunproxy.control.tables import SHARES, build_tables
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.datagram.reassembly import MAX_MEMORY
from tunproxy.device.tun import Offload, TunDevice
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import DatagramService, FlowWatcher, Opener
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import DIAL, Verdict
from tunproxy.loop.dataplane import Dataplane
from tunproxy.upstream.sockets import KernelSockets


def made_with(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what the two tables are made with where a process may have 256 files open."""
    found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    for name in ("TcpTable", "DatagramTable"):
        real = getattr(tables, name)

        def noted(*arguments: Any, real: Any = real, **named: Any) -> object:
            found.append((arguments, named))
            return real(*arguments, **named)

        monkeypatch.setattr(tables, name, noted)
    monkeypatch.setattr(tables, "raise_file_limit", lambda: 256)
    ours, other = socket.socketpair()
    counters = Counters()
    dataplane = Dataplane(ours.fileno(), counters)
    try:
        tcp, datagrams = build_tables(
            WorkerSettings(device=TunDevice(ours.fileno(), "t0", Offload(csum=True, uso6=True)), **settings),
            dataplane, KernelSockets(0, ""), Opener(), counters,
            decider=StaticDecider(Verdict(DIAL, "direct")), service=DatagramService(53),
            targets=Targets({}), watcher=FlowWatcher(),
        )  # fmt: skip
        assert (len(tcp), list(datagrams.lives())) == (0, [])
    finally:
        dataplane.close()
        ours.close()
        other.close()
    return list(found[0][0]), found[1][1]


def test_descriptors_are_shared_out_among_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    tcp, datagrams = made_with(monkeypatch)
    assert tcp[9] == 132
    assert (datagrams["max_associations"], datagrams["max_sessions"]) == (48, 12)
    assert (datagrams["has_uso4"], datagrams["has_uso6"]) == (False, True)


def test_no_flow_may_take_all_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = 32 << 20
    tcp, _ = made_with(monkeypatch, memory=memory, mtu=1400)
    assert tcp[10] == memory - MAX_MEMORY
    settings = tcp[7]
    assert settings.mtu == 1400
    assert settings.rcv_buf_most == (memory - MAX_MEMORY) // SHARES


def test_secrets_of_two_tables_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (made_with(monkeypatch)[0][8] for _ in range(2))
    assert len(one) == len(other) == 16
    assert one != other
