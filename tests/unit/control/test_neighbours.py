"""What workers tell each other: two of them in this process, with a packet path each."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.dns.world import CLIENT
from tests.unit.loop.rig import Rig
from tests.unit.waiting import until
from tests.unit.wire.frames import packed, udp
from tunproxy import clock
from tunproxy.control import neighbours
from tunproxy.control.live_names import LiveNames
from tunproxy.control.neighbours import NAMES, Neighbourhood, Outboxes, inboxes
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.message import A
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.sockets import KernelSockets

ADDRESS = packed("192.0.2.1")
MS = 1000


class Worker:
    """One of two, with all that it has to do with the other."""

    def __init__(self, number: int, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
        self.rig = Rig()
        self.loop = asyncio.new_event_loop()
        sockets = KernelSockets(0, "")
        dialer = AsyncDialer(self.loop, sockets)
        self.names = LiveNames(self.loop, self.rig.dataplane, sockets, dialer, may_lease=number == 0)
        self.outboxes = Outboxes(number, [outbox for _, outbox in pairs])
        self.there = Neighbourhood(self.loop, self.rig.dataplane, self.names, pairs[number][0], self.outboxes)

    def has_pool(self) -> FakePool:
        """Begin to have fake addresses, as a policy with them does."""
        pool = FakePool(clock.now, may_lease=self.names._may_lease)
        self.names.table.fakes = self.names._pool = pool
        assert self.names.new_pool is not None
        self.names.new_pool(pool)
        return pool

    def means(self, address: bytes) -> str:
        return self.names.table.lookup(CLIENT, address, clock.now()).host

    def close(self) -> None:
        self.there.close()
        self.rig.close()
        self.loop.close()


@contextmanager
def two() -> Iterator[tuple[Worker, Worker]]:
    pairs = inboxes(2)
    workers = Worker(0, pairs), Worker(1, pairs)
    yield workers
    for worker in workers:
        worker.close()
    for ends in pairs:
        for end in ends:
            end.close()


def tell(worker: Worker, name: str, address: bytes = ADDRESS) -> None:
    worker.names.table.add(CLIENT, name, (address,), 60, clock.now())


def test_one_worker_has_no_inbox() -> None:
    assert inboxes(1) == []


def test_name_that_one_has_told_is_known_to_the_other_with_no_turn_in_between() -> None:
    with two() as (first, second):
        tell(first, "a.example")
        assert second.means(ADDRESS) == "a.example"
        tell(second, "b.example")
        assert first.means(ADDRESS) == "b.example"


def test_fake_address_means_the_same_to_both_whenever_they_begin_to_have_them() -> None:
    with two() as (first, second):
        pool = first.has_pool()
        assert pool.answer("early.example", A) is not None
        second.means(ADDRESS)  # reads that, and has no pool yet
        second.has_pool()
        assert pool.answer("late.example", A) is not None
        for number, name in pool.known():
            address = packed(f"198.18.0.{number}")
            assert first.means(address) == second.means(address) == name


def test_use_by_one_keeps_a_fake_address_with_the_other() -> None:
    with two() as (first, second):
        pool = first.has_pool()
        mirror = second.has_pool()
        pool.answer("a.example", A)
        second.means(ADDRESS)
        touched: list[int] = []
        pool.touch = touched.append  # type: ignore[method-assign]
        assert mirror.used is not None
        mirror.used(16)
        first.means(ADDRESS)
        assert touched == [16]


def test_whoever_begins_anew_is_told_everything() -> None:
    with two() as (first, second):
        first.has_pool().answer("fake.example", A)
        for number in range(250):  # more than one message
            tell(first, f"n{number}.example", packed(f"203.0.113.{number}"))
        second.means(ADDRESS)
        fresh = second.names.table._clients.clear
        fresh()
        assert second.means(packed("203.0.113.7")) == ""
        second.has_pool()
        assert first.there.retell({"to": 1}) == {"told": True}
        assert second.means(packed("203.0.113.7")) == "n7.example"
        assert second.means(packed("203.0.113.249")) == "n249.example"
        assert second.means(packed("198.18.0.16")) == "fake.example"


def test_frame_that_is_handed_over_is_processed_in_a_turn_even_if_it_came_in_a_look_up() -> None:
    with two() as (first, second):
        for hand in (first.outboxes.hand_over, lambda queue, frame: first.outboxes.offer(frame)):
            before = second.rig.datagrams.statistics()["associations"]
            hand(1, udp(b"x", source=("10.0.0.2", 6000 + before)))
            second.means(ADDRESS)
            assert second.rig.datagrams.statistics()["associations"] == before, (
                "in the midst of another packet"
            )
            second.loop.run_until_complete(asyncio.sleep(0))
            assert second.rig.datagrams.statistics()["associations"] == before + 1
        first.outboxes.hand_over(1, udp(b"x", source=("10.0.0.2", 7000)))
        second.rig.dataplane.poll(20 * MS)
        assert second.rig.datagrams.statistics()["associations"] == 3


def test_whoever_did_not_read_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "RETRY_SECONDS", 0.01)
    with two() as (first, second):
        full = b"N[]"
        while first.outboxes._send(1, full + b" " * 60_000):
            pass
        while first.outboxes._send(1, full):
            pass
        tell(first, "missed.example")
        assert first.outboxes.behind == {1}
        assert second.means(ADDRESS) == ""  # which reads its inbox
        first.loop.run_until_complete(until(lambda: not first.outboxes.behind))
        assert second.means(ADDRESS) == "missed.example"
        assert first.outboxes.behind == set()


def test_other_that_is_gone_is_no_error() -> None:
    pairs = inboxes(2)
    outboxes = Outboxes(0, [outbox for _, outbox in pairs])
    pairs[1][0].close()
    outboxes.hand_over(1, b"x")
    assert outboxes.tell(NAMES, []) is False
    for end in (*pairs[0], pairs[1][1]):
        end.close()
