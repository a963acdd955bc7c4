"""What a worker keeps, and what it hands to others: through the packet path, as frames come."""

from collections.abc import Iterator

import pytest

from tests.unit.datagram.test_reassembly import fragments
from tests.unit.loop.rig import Rig, syn, tcp_flags
from tests.unit.wire.frames import CLIENT, TARGET, echo_request, parsed, udp
from tunproxy.flow.ports import Neighbours
from tunproxy.flow.queues import queue_of
from tunproxy.loop.sharing import Sharing
from tunproxy.wire.tcp import ACK, RST

MS = 1000


class Others(Neighbours):
    def __init__(self) -> None:
        self.handed: list[tuple[int, bytes]] = []
        self.offered: list[bytes] = []

    def hand_over(self, queue: int, frame: bytes) -> None:
        self.handed.append((queue, frame))

    def offer(self, frame: bytes) -> None:
        self.offered.append(frame)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def share(rig: Rig, queue: int = 0, *, is_steered: bool = True) -> Others:
    others = Others()
    rig.dataplane.share(Sharing(queue, 2, others, rig.tcp, is_steered=is_steered))
    return others


def port_of(queue: int) -> int:
    """Return a port of CLIENT's that belongs to a queue of two."""

    def found(port: int) -> int:
        frame = udp(b"", source=(CLIENT, port))
        return queue_of(frame, parsed(frame), 2)

    return next(port for port in range(5000, 5100) if found(port) == queue)


@pytest.mark.parametrize("queue", [0, 1])
def test_datagram_of_anothers_port_is_handed_over(rig: Rig, queue: int) -> None:
    others = share(rig, queue)
    own, foreign = (udp(b"x", source=(CLIENT, port_of(each))) for each in (queue, 1 - queue))
    for frame in (own, foreign):
        rig.wire.send(frame)
    rig.dataplane.poll(20 * MS)
    assert others.handed == [(1 - queue, foreign)]
    assert rig.datagrams.statistics()["associations"] == 1
    assert rig.counters.frames_in == 2


def test_datagram_in_pieces_is_handed_over_whole(rig: Rig) -> None:
    others = share(rig)
    whole = udp(b"0123456789" * 300, source=(CLIENT, port_of(1)))
    for piece in fragments(whole[30:], 800):
        rig.wire.send(piece)
    rig.dataplane.poll(20 * MS)
    [(queue, frame)] = others.handed
    assert queue == 1
    assert frame.endswith(b"0123456789" * 300)


def test_what_is_handed_over_is_processed_and_counted_only_once(rig: Rig) -> None:
    others = share(rig)
    rig.dataplane.take_over(udp(b"x", source=(CLIENT, port_of(1))), False, 5)
    assert rig.datagrams.statistics()["associations"] == 1
    assert (rig.counters.frames_in, others.handed) == (0, [])


@pytest.mark.parametrize("is_steered", [True, False])
def test_segment_is_the_kernels_to_place(rig: Rig, is_steered: bool) -> None:
    """A TCP segment is never asked about: whoever gets it keeps it, and answers if it knows no flow."""
    others = share(rig, is_steered=is_steered)
    for port in (port_of(0), port_of(1)):
        frame = bytearray(syn(9, source_port=port))
        rig.wire.send(bytes(frame))
    rig.dataplane.poll(20 * MS)
    assert (others.handed, others.offered) == ([], [])


def test_segment_of_no_flow_is_answered_with_a_reset(rig: Rig) -> None:
    """RFC 9293 §3.10.7.1: so the flows of a worker that has died end with their next segment."""
    share(rig)
    frame = bytearray(syn(9))
    frame[10 + 20 + 13] = ACK
    frame[10 + 20 + 16 : 10 + 20 + 18] = bytes(2)
    frame[0] = 1  # the checksum is left to somebody else
    rig.wire.send(bytes(frame))
    rig.dataplane.poll(20 * MS)
    assert tcp_flags(rig.wire.recv(2000)) & RST


def test_segment_in_pieces_that_nobody_can_place_is_offered(rig: Rig) -> None:
    """Only the kernel knows who has the flow then: all others look, and nobody answers with a reset."""
    others = share(rig, is_steered=False)
    for piece in fragments(b"0" * 3000, 800):
        segment = bytearray(piece)
        segment[10 + 9] = 6  # the protocol; the header's sum changes by as much
        total = int.from_bytes(segment[20:22], "big") + 17 - 6
        segment[20:22] = (total if total <= 0xFFFF else total - 0xFFFF).to_bytes(2, "big")
        rig.wire.send(bytes(segment))
    rig.dataplane.poll(20 * MS)
    [frame] = others.offered
    rig.dataplane.take_over(frame, True, 5)
    rig.wire.settimeout(0.05)
    with pytest.raises(TimeoutError):
        rig.wire.recv(2000)


def test_ping_of_anothers_client_is_handed_over(rig: Rig) -> None:
    frame = echo_request(b"x", source=CLIENT, target=TARGET)
    owner = queue_of(frame, parsed(frame), 2)
    others = share(rig, 1 - owner)
    rig.wire.send(frame)
    rig.dataplane.poll(20 * MS)
    assert others.handed == [(owner, frame)]
