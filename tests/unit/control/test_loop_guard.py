"""Loops are told from those who merely begin many connections: by whose they are."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from tests.unit.flow.rig import PORT, TARGET, Client, Rig, pack
from tests.unit.waiting import turns
from tunproxy.control.loop_guard import MANY, PAUSE, QUARANTINE, UNKNOWN_MANY, LoopGuard, proxy_of
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import FlowWatcher
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import CONVERSE, DIAL, OPEN, FlowInfo, Verdict
from tunproxy.host.process import Process

PROXY = Process(uid=1000, pid=70, name="relayd", path="/usr/bin/relayd")
CHILD = Process(uid=1000, pid=71, name="relayd", path="/usr/bin/relayd")
BROWSER = Process(uid=1001, pid=80, name="browser", path="/usr/bin/browser")
UNKNOWN = Process(why="no socket of this network namespace sends from there")


class Watcher(FlowWatcher):
    """Has flows counted."""

    def opened(self, life: FlowLife) -> None:
        pass

    def closed(self, life: FlowLife) -> None:
        pass


class Turns:
    def yield_loop(self) -> None:
        pass


class Owners:
    """Says whose flows are: those to the target are client's, the proxy's end of ours is proxy's."""

    def __init__(self, client: Process, proxy: Process) -> None:
        self.client, self.proxy = client, proxy
        self.asked: list[tuple[bytes, int, bytes, int]] = []

    async def search(
        self, network: str, source: bytes, source_port: int, target: bytes, port: int
    ) -> Process:
        self.asked.append((source, source_port, target, port))
        return self.client if target == pack(TARGET) else self.proxy


class World:
    """A table whose flows go to a proxy that accepts connections and says nothing, with a guard."""

    def __init__(
        self,
        client: Process = CHILD,
        proxy: Process = PROXY,
        *,
        serves_others: bool = False,
        ours: tuple[str, ...] = ("127.0.0.1", "192.0.2.1"),
        sources: tuple[str, ...] = (),
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=300)
        self.loop = asyncio.new_event_loop()
        self.owners = Owners(client, proxy)
        self.now = 0.0
        address, port = self.listener.getsockname()
        self.verdict = Verdict(DIAL, "local", address, port)  # a conversation takes a proxy that answers
        self.rig = Rig(decider=StaticDecider(self.verdict), watcher=Watcher())
        self.guard = LoopGuard(
            self.loop,
            Turns(),
            self.rig.table,
            self.owners,
            lambda address: address in ours,
            serves_others=serves_others,
            is_way_out=lambda address: address in sources,
            clock=lambda: self.now,
        )
        self.proxied = Verdict(CONVERSE, "local", address, port)

    def close(self) -> None:
        self.guard.close()
        self.rig.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        self.listener.close()

    def flows(self, count: int, first: int = 20_000) -> list[bool]:
        """Begin so many flows to TARGET; return whether the guard let each go to the proxy."""
        let = []
        for port in range(first, first + count):
            let.append(self.admits(port))
            if let[-1]:
                Client(self.rig, port=port).syn()
        self.run(turns(0.05))
        return let

    def admits(self, port: int, verdict: Verdict | None = None) -> bool:
        info = FlowInfo("tcp", pack("10.0.0.2"), port, pack(TARGET), PORT)
        return self.guard.admits(info, verdict or self.proxied)

    def run(self, waiting: Coroutine[Any, Any, None]) -> None:
        self.rig.run(0.01)
        self.loop.run_until_complete(waiting)


@contextlib.contextmanager
def world(*owners: Process, **settings: Any) -> Iterator[World]:
    with contextlib.closing(World(*owners, **settings)) as made:
        yield made


def test_loop_is_cut_named_and_kept_out_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    with world() as made, caplog.at_level(logging.WARNING):
        assert all(made.flows(MANY))
        (told,) = caplog.messages
        assert told.startswith(
            f"loop: flows to {TARGET}:{PORT} come from relayd (process 71), which is the upstream"
        )
        assert "exclude-users = [1000]" in told
        assert len(made.rig.table) == 0
        assert not any(made.flows(3, 30_000))
        assert made.guard.document()["cut"] == MANY + 3
        assert made.guard.document()["last"] == [told.partition(";")[0]]
        made.now += QUARANTINE + 1
        assert made.admits(31_000)


def test_many_connections_of_somebody_else_are_no_loop_and_asked_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world(BROWSER, PROXY) as made, caplog.at_level(logging.WARNING):
        assert all(made.flows(MANY))
        asked = len(made.owners.asked)
        assert asked == 2
        assert all(made.flows(MANY, 30_000))
        assert (len(made.owners.asked), caplog.messages) == (asked, [])
        assert len(made.rig.table) == 2 * MANY
        made.now += PAUSE + 1
        assert all(made.flows(MANY, 40_000))
        assert len(made.owners.asked) == 2 * asked


def test_few_connections_or_many_in_a_long_time_are_not_asked_about() -> None:
    with world() as made:
        made.flows(MANY - 1)
        made.now += 60
        made.flows(MANY - 1, 30_000)
        assert made.owners.asked == []


def test_flows_that_have_brought_something_are_none_of_a_loop() -> None:
    with world() as made:
        for port in range(MANY):
            assert made.admits(port)  # none of which is there any more when it is asked
        made.run(turns(0.05))
        assert made.owners.asked == []


def test_those_of_nobody_are_cut_only_when_they_are_very_many(caplog: pytest.LogCaptureFixture) -> None:
    with world(UNKNOWN, UNKNOWN) as made, caplog.at_level(logging.WARNING):
        made.flows(MANY)
        assert caplog.messages == []
        made.now += 1  # it could not be told: it is asked again
        made.flows(UNKNOWN_MANY - MANY, 30_000)
        made.now += 1
        made.flows(1, 40_000)
        assert "come from a program that cannot be found out" in caplog.text


CLIENT = "10.0.0.2"  # whose flows World makes
FAR = "198.51.100.77"


@pytest.mark.parametrize(
    ("proxy", "our_own", "client", "is_cut"),
    [
        (CLIENT, "192.0.2.1", UNKNOWN, True),  # a proxy of the LAN, whose way out is this host
        (FAR, CLIENT, UNKNOWN, True),  # in a container, masqueraded behind an address of ours
        (FAR, "192.0.2.1", UNKNOWN, False),  # somebody of the LAN, through a proxy of the world
        (FAR, CLIENT, BROWSER, False),  # a program of this host
        ("127.0.0.1", "192.0.2.1", UNKNOWN, True),  # a published port, which leads on into a container
    ],
)
def test_proxy_behind_this_host_is_known_by_where_flows_come_from(
    caplog: pytest.LogCaptureFixture, proxy: str, our_own: str, client: Process, *, is_cut: bool
) -> None:
    with (
        world(client, UNKNOWN, serves_others=True, ours=("127.0.0.1", our_own)) as made,
        caplog.at_level(logging.WARNING),
    ):
        made.proxied = Verdict(CONVERSE, "work", proxy, 1080)
        made.flows(UNKNOWN_MANY - 1)
        assert caplog.messages == []
        made.now += 1
        made.flows(1, 30_000)
        assert bool(caplog.messages) == is_cut
        if is_cut:
            assert "come from what this host forwards, where the upstream work is (leave" in caplog.text
            assert "--exclude-interface" in caplog.text
            assert not any(made.flows(3, 40_000))


def test_proxy_that_the_way_out_leads_to_is_not_behind_this_host() -> None:
    """However many wait for it: a measurement in a container, say, whose connections are masqueraded."""
    with world(UNKNOWN, UNKNOWN, serves_others=True, ours=(CLIENT,), sources=("127.0.0.1",)) as made:
        made.proxied = Verdict(CONVERSE, "work", FAR, 1080)
        assert all(made.flows(2 * UNKNOWN_MANY))
        assert made.guard.document()["cut"] == 0


def test_published_port_that_a_program_here_carries_into_a_container_is_cut_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As Docker's proxy in user space does: the proxy's end is that program's, and the flows are nobody's."""
    with (
        world(UNKNOWN, BROWSER, serves_others=True, ours=("127.0.0.1", CLIENT)) as made,
        caplog.at_level(logging.WARNING),
    ):
        made.flows(UNKNOWN_MANY)
        assert "come from what this host forwards" in caplog.text


def test_only_proxies_of_this_host_are_looked_at() -> None:
    with world() as made:
        for verdict in (
            Verdict(DIAL, "direct"),
            Verdict(CONVERSE, "far", "198.51.100.1", 1080),
            Verdict(OPEN, "plugin", opener=object()),
        ):
            for port in range(3 * MANY):
                assert made.admits(port, verdict)
        made.run(turns(0.05))
        assert made.owners.asked == []


def test_proxy_of_a_verdict() -> None:
    assert proxy_of(Verdict(CONVERSE, "x", "127.0.0.1", 1080)) == ("127.0.0.1", 1080)
    assert proxy_of(Verdict(OPEN, "x", opener=object())) is None


def test_root_is_not_told_to_leave_root_alone(caplog: pytest.LogCaptureFixture) -> None:
    root = Process(uid=0, pid=70, name="sshd", path="/usr/sbin/sshd")
    with world(root, root) as made, caplog.at_level(logging.WARNING):
        made.flows(MANY)
        assert "run it as a user of its own, and leave that alone: [capture] exclude-users" in caplog.text
