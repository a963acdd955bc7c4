"""Bytes between a client in frames and a target on the kernel's loopback, both ways."""

import contextlib
import hashlib
import random

import pytest

from tests.unit.flow.rig import (
    Client,
    Rig,
    connected,
    how_it_ended,
    listening,
    read_exactly,
)
from tunproxy.flow.tcp_flow import TcpFlow
from tunproxy.tcp.connection import RCV_BUF
from tunproxy.wire.tcp import ACK

MEGABYTE = 1 << 20


def noise(size: int) -> bytes:
    return random.Random(7).randbytes(size)


def only_flow(rig: Rig) -> TcpFlow:
    """Return the one flow in the table (compiled or not, contexts are the flow package's own affair)."""
    (flow,) = rig.table._context.flows.values()
    return flow


def test_data_up_arrives_at_the_target() -> None:
    with connected() as (rig, client, target):
        client.send(b"hello")
        assert read_exactly(rig, target, 5) == b"hello"


def test_data_down_arrives_at_the_client() -> None:
    with connected() as (rig, client, target):
        target.sendall(b"hello")
        rig.until(lambda: client.stream == b"hello")


def test_data_with_the_last_ack_of_the_handshake_arrives() -> None:
    with listening() as (rig, listener):
        client = Client(rig)
        client.syn()
        rig.until(lambda: client.received)
        client.send(b"at once")
        with listener.accept()[0] as target:
            assert read_exactly(rig, target, 7) == b"at once"


def test_target_that_speaks_first_is_heard() -> None:
    with listening() as (rig, listener):
        client = Client(rig).connect()
        with listener.accept()[0] as target:
            target.sendall(b"220 ready")
            rig.until(lambda: client.stream == b"220 ready")


@pytest.mark.parametrize("size", [1, 536, 1460])
def test_data_up_in_segments_of_any_size_arrives_unaltered(size: int) -> None:
    data = noise(min(size * 3000, 2 * MEGABYTE))
    with connected() as (rig, client, target):
        arrived = bytearray()
        target.setblocking(False)

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                arrived.extend(target.recv(1 << 20))

        client.send_all(data, size, drain=drain)
        arrived += read_exactly(rig, target, len(data) - len(arrived))
        assert hashlib.sha256(arrived).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("has_tso", [True, False])
def test_data_down_arrives_unaltered(has_tso: bool) -> None:
    data = noise(2 * MEGABYTE)
    with connected() as (rig, client, target):
        if not has_tso:
            client.mss = 536
        target.setblocking(False)
        sent = 0
        while len(client.stream) < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += target.send(data[sent : sent + MEGABYTE])
            rig.turn(0.001)
        assert client.stream == data


# backpressure


def fill(rig: Rig, client: Client, most: int = 16 * MEGABYTE) -> int:
    """Send as a client until the window is closed; return how much was taken."""
    taken = 0
    piece = noise(1400)
    idle = 0
    while idle < 20:
        assert taken < most, "no end of what is taken"
        room = (client.peer_ack + client.peer_wnd - client.seq) & 0xFFFF_FFFF
        if len(piece) <= room < 1 << 31:
            client.says(ACK, piece)
            taken += len(piece)
            idle = 0
        else:
            rig.turn(0.002)
            idle += 1
    return taken


def test_target_does_not_read_window_closes_and_memory_is_bounded() -> None:
    with connected() as (rig, client, target):
        taken = fill(rig, client)
        conn = only_flow(rig).conn
        assert conn.rcv_queued <= RCV_BUF + RCV_BUF // 8
        assert client.peer_wnd < 1460
        data = read_exactly(rig, target, taken)
        assert hashlib.sha256(data).digest() == hashlib.sha256(noise(1400) * (taken // 1400)).digest()
        rig.until(lambda: client.peer_wnd > RCV_BUF // 2)


def test_client_closes_while_target_does_not_read_everything_arrives_and_then_the_end() -> None:
    """More pieces are waiting than one writev takes, and nothing else happens that would push the rest."""
    with connected() as (rig, client, target):
        taken = fill(rig, client)
        client.close()
        assert only_flow(rig).conn.rcv_queued > 0
        assert len(how_it_ended(rig, target)) == taken


def test_client_with_closed_window_target_is_not_read() -> None:
    with connected() as (rig, client, target):
        client.wnd = 0
        client.says(ACK)
        target.setblocking(False)
        sent = 0
        idle = 0
        while idle < 20:
            try:
                sent += target.send(noise(65536))
                idle = 0
            except BlockingIOError:
                rig.turn(0.002)
                idle += 1
        assert only_flow(rig).conn.buffer.length <= 1460, "what lies in our memory is one probe's worth"
        client.wnd = 0xFFFF
        client.says(ACK)
        rig.until(lambda: len(client.stream) == sent)


def test_client_with_small_window_never_holds_more_than_it_allows() -> None:
    with connected(wnd_shift=0) as (rig, client, target):
        client.wnd = 5000
        client.is_acking = False
        client.says(ACK)
        window_begins = client.ack
        target.sendall(noise(50_000))
        rig.run()
        ends = [segment.seq + len(segment.data) for segment in client.received if segment.data]
        assert ends, "it sends what the window allows, and may repeat the last of it as a probe"
        assert 0 < max(ends) - window_begins <= 5000
