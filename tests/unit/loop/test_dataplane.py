"""The packet path's turn, with real descriptors on both sides of it."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from tests.unit.loop.rig import Rig, syn, tcp_flags
from tunproxy import clock
from tunproxy.flow.ports import EDGE, READABLE, Descriptor, Timed
from tunproxy.loop.dataplane import MAX_DISCARDED
from tunproxy.wire.tcp import ACK, RST, SYN

MS = 1000
SECOND = 1_000_000


class Reader(Descriptor):
    """Notes what it is told, and reads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen: list[bytes] = []

    def on_ready(self, events: int, now: int) -> None:
        assert events & READABLE
        self.seen.append(os.read(self.fd, 100))


class Alarm(Timed):
    """Notes when it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def on_deadline(self, now: int) -> None:
        self.calls.append(now)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def serve(rig: Rig, *, until: int = 100 * MS) -> None:
    """Run the packet path for `until` microseconds, and for some turns though the machine stands still."""
    for _ in range(10):
        rig.dataplane.poll(until // 10)


def test_poll_with_nothing_to_do_returns_after_the_timeout(rig: Rig) -> None:
    begin = clock.now()
    assert rig.dataplane.poll(20 * MS) == []
    assert 20 * MS <= clock.now() - begin < 30 * SECOND


def test_poll_with_zero_serves_one_turn(rig: Rig) -> None:
    rig.wire.send(bytes(60))
    assert rig.dataplane.poll(0) == []
    assert rig.counters.frames_in == 1


def test_malformed_frame_is_counted_by_reason_and_dropped(rig: Rig) -> None:
    for frame in (b"", b"\0", bytes(10), bytes(60), bytes(10) + b"\x45" + bytes(30), os.urandom(200)):
        rig.wire.send(frame)
    serve(rig)
    found = rig.counters.snapshot()
    assert found["frames_in"] == 6
    assert sum(count for name, count in found.items() if name.startswith("drop_")) == 6


def test_syn_to_a_listener_is_answered_once_it_accepted(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        rig.wire.send(syn(server.getsockname()[1]))
        serve(rig)
        assert tcp_flags(rig.wire.recv(2000)) == SYN | ACK
        assert len(rig.tcp) == 1


def test_syn_to_a_closed_port_is_refused(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    rig.wire.send(syn(port))
    serve(rig)
    assert tcp_flags(rig.wire.recv(2000)) == RST | ACK
    assert len(rig.tcp) == 0


def test_burst_larger_than_a_turn_is_read_whole(rig: Rig) -> None:
    rig.wire.setblocking(False)
    sent = 0
    for _ in range(8):  # the socket pair's queue is short
        for _ in range(10):
            rig.wire.send(bytes(60))
            sent += 1
        serve(rig, until=5 * MS)
    assert rig.counters.frames_in == sent


def test_watched_descriptor_is_served_inside_poll(rig: Rig) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = Reader(ours.fileno())
        rig.dataplane.watch(ours.fileno(), reader, READABLE)
        theirs.send(b"hello")
        serve(rig, until=20 * MS)
        assert reader.seen == [b"hello"]
        rig.dataplane.forget(ours.fileno())


def test_discarded_socket_is_closed_once_nothing_else_is_to_be_done(rig: Rig) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        reader = Reader(ours.fileno())
        rig.dataplane.watch(ours.fileno(), reader, READABLE | EDGE)
        rig.dataplane.discard(ours)
        theirs.send(b"late")
        assert rig.dataplane.poll(20 * MS) == [], "its events are nobody's, and not asyncio's either"
        assert reader.seen == []
        assert ours.fileno() == -1


def test_discarded_sockets_do_not_pile_up_while_there_is_always_something_to_do(rig: Rig) -> None:
    pairs = [socket.socketpair() for _ in range(MAX_DISCARDED)]
    for ours, _ in pairs:
        rig.dataplane.watch(ours.fileno(), Reader(ours.fileno()), READABLE | EDGE)
        rig.dataplane.discard(ours)
    rig.wire.send(bytes(60))
    rig.dataplane.poll(0)
    assert [ours.fileno() for ours, _ in pairs] == [-1] * MAX_DISCARDED
    for _, theirs in pairs:
        theirs.close()


def test_closing_closes_what_was_discarded() -> None:
    rig = Rig()
    ours, theirs = socket.socketpair()
    rig.dataplane.watch(ours.fileno(), Reader(ours.fileno()), READABLE | EDGE)
    rig.dataplane.discard(ours)
    rig.close()
    assert ours.fileno() == -1
    theirs.close()


def test_waiting_in_vain_costs_no_processor_time(rig: Rig) -> None:
    """After a short wait we look for more without sleeping, but only once."""
    rig.wire.send(bytes(60))
    rig.dataplane.poll(MS)
    begin = time.process_time()
    rig.dataplane.poll(200 * MS)
    assert time.process_time() - begin < 0.05


def test_foreign_descriptor_comes_out_of_poll(rig: Rig) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        rig.dataplane.register_foreign(ours.fileno(), READABLE)
        theirs.send(b"x")
        assert rig.dataplane.poll(SECOND) == [(ours.fileno(), READABLE)]
        rig.dataplane.unregister_foreign(ours.fileno())
        assert rig.dataplane.poll(10 * MS) == []


def test_unregistering_a_closed_foreign_descriptor_is_no_error(rig: Rig) -> None:
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    rig.dataplane.register_foreign(fd, READABLE)
    ours.close()
    theirs.close()
    rig.dataplane.unregister_foreign(fd)


def test_yield_loop_ends_poll_at_the_end_of_the_turn(rig: Rig) -> None:
    rig.wire.send(bytes(60))
    rig.dataplane.yield_loop()
    begin = clock.now()
    rig.dataplane.poll(60 * SECOND)
    assert clock.now() - begin < 30 * SECOND


def test_scheduled_deadline_fires_on_time(rig: Rig) -> None:
    alarm = Alarm()
    due = clock.now() + 20 * MS
    rig.dataplane.schedule(alarm, due)
    serve(rig, until=60 * MS)
    (called,) = alarm.calls
    assert due <= called < due + 30 * SECOND


def test_later_comes_after_a_turn_and_only_once(rig: Rig) -> None:
    alarm = Alarm()
    rig.dataplane.later(alarm)
    rig.dataplane.poll(0)
    rig.dataplane.poll(0)
    assert len(alarm.calls) == 1


def test_close_resets_the_flows(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        rig.wire.send(syn(server.getsockname()[1]))
        serve(rig)
        rig.wire.recv(2000)
        rig.tcp.close()
        assert tcp_flags(rig.wire.recv(2000)) & RST
        assert len(rig.tcp) == 0
