"""A reader that does not read: the other side's window closes, memory stays bounded, nothing is lost."""

import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.system.lab import IPV4, Family, Lab
from tests.system.peers import (
    MEGABYTE,
    Task,
    digest_of,
    pair,
    receive_digest,
    receive_exactly,
    reset,
    send_and_end,
    send_stream,
)
from tests.system.stopwatch import Stopwatch

pytestmark = pytest.mark.timeout(60)

MEMORY_BOUND = 64 * MEGABYTE
MORE_THAN_ALL_BUFFERS = 300 * MEGABYTE


@pytest.mark.parametrize("direction", ["up", "down"])
def test_slow_reader_closes_the_window_and_loses_nothing(lab: Lab, family: Family, direction: str) -> None:
    """The window is zero for seconds; then everything arrives."""
    with memory_bounded(lab), lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            source, sink = (client, server) if direction == "up" else (server, client)
            sender = Task(send_and_end, source, MORE_THAN_ALL_BUFFERS)
            time.sleep(2)
            assert sender.is_running(), "somebody buffered what nobody read"
            assert receive_digest(sink) == (MORE_THAN_ALL_BUFFERS, digest_of(MORE_THAN_ALL_BUFFERS))
            sender.result()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_reader_that_stops_and_goes_gets_everything(lab: Lab, direction: str) -> None:
    size, step = 60 * MEGABYTE, 6 * MEGABYTE
    with lab.server.listen(IPV4.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            source, sink = (client, server) if direction == "up" else (server, client)
            sender = Task(send_and_end, source, size)
            hasher, count = hashlib.blake2b(), 0
            while part := receive_exactly(sink, step):
                hasher.update(part)
                count += len(part)
                time.sleep(0.15)
            sender.result()
    assert (count, hasher.hexdigest()) == (size, digest_of(size))


@pytest.mark.parametrize("direction", ["up", "down"])
def test_tiny_receive_buffer_transfers_unaltered(lab: Lab, direction: str) -> None:
    """The window opens and closes around every segment (silly window avoidance, RFC 9293 §3.8.6.2)."""
    size = 2 * MEGABYTE
    with lab.server.listen(IPV4.host) as listener, lab.client.make_socket() as client:
        for sock in (client, listener):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        client.connect(listener.getsockname())
        with listener.accept()[0] as server:
            server.settimeout(20)
            source, sink = (client, server) if direction == "up" else (server, client)
            received = Task(receive_digest, sink)
            send_and_end(source, size)
            assert received.result(40) == (size, digest_of(size))


def test_stalled_flows_cost_no_time_and_do_not_hinder_others(lab: Lab) -> None:
    """Twenty flows stand still, ten in each direction; a new one is as quick as ever."""
    with memory_bounded(lab), contextlib.ExitStack() as stack, lab.server.listen(IPV4.host) as listener:
        stalled = []
        for number in range(20):
            ends = pair(lab.client, listener)
            for end in ends:
                stack.enter_context(end)
            source, sink = ends if number % 2 else ends[::-1]
            stalled.append((Task(send_stream, source, MORE_THAN_ALL_BUFFERS), sink))
        time.sleep(1.5)
        assert all(sender.is_running() for sender, _ in stalled)
        with idle_processor(lab):
            time.sleep(2)
        client, server = pair(lab.client, listener)
        with client, server, Stopwatch() as watch:
            received = Task(receive_digest, server)
            send_and_end(client, 50 * MEGABYTE)
            assert received.result() == (50 * MEGABYTE, digest_of(50 * MEGABYTE))
            assert watch.seconds() < 5
        for sender, sink in stalled:
            sink.close()
            with pytest.raises(ConnectionError):
                sender.result()


def test_stalled_flow_reset_by_its_sender_ends_at_the_reader(lab: Lab, family: Family) -> None:
    """The RST overtakes what the reader has not taken."""
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with server:
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                send_stream(client, MORE_THAN_ALL_BUFFERS)
            reset(client)
            time.sleep(0.5)
            with pytest.raises(ConnectionResetError):
                receive_digest(server)


@contextlib.contextmanager
def memory_bounded(lab: Lab) -> Iterator[None]:
    """Fail where tunproxy's memory grew beyond the bound meanwhile."""
    if lab.proxy is None:
        yield
        return
    before = lab.proxy.resident()
    watch = Task(_peak, lab, done := [])
    try:
        yield
    finally:
        done.append(True)
    grown = watch.result() - before
    assert grown < MEMORY_BOUND, f"tunproxy grew by {grown / MEGABYTE:.0f} MB"


@contextlib.contextmanager
def idle_processor(lab: Lab) -> Iterator[None]:
    """Fail where tunproxy computed meanwhile although there was nothing to do."""
    before = lab.proxy.cpu_seconds() if lab.proxy else 0.0
    yield
    used = lab.proxy.cpu_seconds() - before if lab.proxy else 0.0
    assert used < 0.3, f"tunproxy used {used:.2f} s of processor time for stalled flows"


def _peak(lab: Lab, done: list[bool]) -> int:
    peak = 0
    while not done:
        assert lab.proxy is not None
        peak = max(peak, lab.proxy.resident())
        time.sleep(0.05)
    return peak
