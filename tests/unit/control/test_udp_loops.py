"""Datagrams that go round are told from those that are not answered: by whose they are."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

import pytest

from tests.unit.control.test_loop_guard import BROWSER, PROXY, Owners, Turns, Watcher
from tests.unit.datagram.relays import Choosing, Proxied
from tests.unit.flow.rig import TARGET, Rig
from tests.unit.waiting import turns
from tests.unit.wire import frames
from tunproxy.control.loop_guard import MANY, QUARANTINE, LoopGuard
from tunproxy.control.udp_loops import GROWTH, LOOK
from tunproxy.flow.verdict import CONVERSE, Verdict
from tunproxy.host.process import Process

LOCAL = Verdict(CONVERSE, "local", "127.0.0.1", 1080, object())


class Round:
    """A table whose datagrams go through a proxy that sends them back into it, as many times as told."""

    def __init__(self, client: Process, proxy: Process = PROXY) -> None:
        self.loop = asyncio.new_event_loop()
        self.rig = Rig()
        self.lab = Proxied(decider=Choosing(LOCAL), watcher=Watcher())
        self.owners = Owners(client, proxy)
        self.now = 0.0
        self.guard = LoopGuard(
            self.loop,
            Turns(),
            self.rig.table,
            self.owners,
            lambda address: address.startswith("127."),
            datagrams=self.lab.world.table,
            clock=lambda: self.now,
        )
        self.lab.world.table.guard_by(self.guard)

    def close(self) -> None:
        self.guard.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        self.lab.__exit__(None, None, None)
        self.rig.close()

    def turn(self, port: int, payload: bytes = b"x") -> bool:
        """Have a datagram come from that port; return whether it reached the proxy."""
        self.lab.world.inbound(frames.udp(payload, source=("10.0.0.2", port), target=(TARGET, 7)))
        if self.lab.relay.is_idle():
            return False
        self.lab.relay.receive()
        return True

    def rest(self, seconds: float = 0.02) -> None:
        self.loop.run_until_complete(turns(seconds))

    def paths(self) -> int:
        return self.lab.world.table.statistics()["paths"]


@contextlib.contextmanager
def going_round(client: Process, proxy: Process = PROXY) -> Iterator[Round]:
    with contextlib.closing(Round(client, proxy)) as made:
        yield made


def test_loop_with_another_port_each_turn_is_cut_named_and_kept_out_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with going_round(PROXY) as made, caplog.at_level(logging.WARNING):
        assert all(made.turn(20_000 + number) for number in range(MANY))
        assert made.paths() == MANY
        made.rest()
        (told,) = caplog.messages
        assert told.startswith(f"loop: flows to {TARGET}:7 come from relayd (process 70)")
        assert f"{MANY} flows were cut" in told
        assert made.paths() == 0
        assert not made.turn(30_000)
        made.now += QUARANTINE + 1
        assert made.turn(30_001)


def test_loop_of_one_port_is_cut_as_soon_as_it_is_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    with going_round(PROXY) as made, caplog.at_level(logging.WARNING):
        assert made.turn(20_000, bytes(GROWTH))
        until = time.monotonic() + 20
        while not caplog.messages and time.monotonic() < until:
            made.rest()
        assert "1 flows were cut" in caplog.text
        assert made.paths() == 0
        assert not made.turn(20_000)


def test_who_sends_and_hears_nothing_is_left_alone_and_so_is_who_sends_little(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with going_round(BROWSER) as made, caplog.at_level(logging.WARNING):
        assert made.turn(20_000, bytes(GROWTH))
        made.rest(LOOK * 1.5)
        assert len(made.owners.asked) == 2
        assert made.turn(20_000)
    with going_round(PROXY) as made, caplog.at_level(logging.WARNING):
        assert made.turn(20_000, bytes(GROWTH - 1))
        made.rest(LOOK * 1.5)
        assert made.owners.asked == []
    assert caplog.messages == []


def test_flow_that_is_answered_is_not_asked_about_and_nothing_is_looked_at_then() -> None:
    with going_round(PROXY) as made:
        assert made.turn(20_000, bytes(GROWTH))
        made.lab.relay.answer(TARGET, 7, b"answer")
        made.lab.world.received()
        made.rest(LOOK * 1.5)
        assert made.owners.asked == []
        assert made.guard._udp is not None
        assert made.guard._udp._timer is None


def test_proxies_elsewhere_are_not_looked_at() -> None:
    with going_round(PROXY) as made:
        made.lab.decider.verdict = Verdict(CONVERSE, "far", "198.51.100.9", 1080, object())
        for number in range(2 * MANY):
            assert made.turn(20_000 + number, bytes(100))
        made.rest(LOOK * 1.5)
        assert made.owners.asked == []
