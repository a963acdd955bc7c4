"""Datagrams behind headers on a connected socket: sizes, batches, what is no datagram, refusals."""

import socket

import pytest

from tests.unit.datagram.relays import FRAMING, Proxied
from tests.unit.datagram.test_decisions import error_of
from tests.unit.wire import frames
from tests.unit.wire.frames import TARGET, TARGET6, packed
from tunproxy.flow.framing import Framing

UDP_SEGMENT = 103


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65_507 - 10])
def test_datagram_of_each_size_comes_back_whole(size: int) -> None:
    data = bytes(range(256)) * 256
    with Proxied(mtu=65_535) as lab:
        lab.world.inbound(frames.udp(data[:size], target=(TARGET, 7)))
        assert lab.relay.receive() == (TARGET, 7, data[:size])
        lab.relay.answer(TARGET, 7, data[:size])
        [packet] = lab.world.received()
        assert packet.payload == data[:size]


def test_datagram_that_is_too_large_behind_its_header_is_reported() -> None:
    with Proxied(mtu=65_535) as lab:
        lab.world.inbound(frames.udp(bytes(65_507), target=(TARGET, 7)))
        kind, code, quote = error_of(lab.world.outbound()[0])
        assert (kind, code) == (3, 4)
        assert lab.world.drops() == {"rejected": 1}
        assert quote[20:24] == (5000).to_bytes(2, "big") + (7).to_bytes(2, "big")


@pytest.mark.parametrize("last", [1000, 300])
def test_super_packet_is_cut_with_a_header_for_each(last: int) -> None:
    """The relay gets what one call sent, joined again: all pieces have a header, and the size says so."""
    payload = b"".join(bytes([number]) * 1000 for number in range(20)) + b"z" * last
    with Proxied(gro=True) as lab:
        lab.world.inbound(frames.udp_super(payload, 1000, target=(TARGET, 7)))
        data, control, _, _ = lab.relay.sock.recvmsg(65536, 64)
        assert int.from_bytes(control[0][2][:2], "little") == 1010
        header = FRAMING.header_for(packed(TARGET), 7)
        pieces = [payload[at : at + 1000] for at in range(0, len(payload), 1000)]
        assert data == b"".join(header + piece for piece in pieces)


def test_gathered_datagrams_leave_together_up_to_what_the_kernel_takes() -> None:
    sent = [bytes([number]) * 1015 for number in range(64)]  # with headers more than a datagram may have
    with Proxied() as lab:
        lab.world.inbound(*(frames.udp(payload, target=(TARGET, 7)) for payload in sent))
        assert [lab.relay.receive()[2] for _ in sent] == sent


def test_small_datagram_behind_a_super_packet_is_not_cut() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp_super(bytes(300), 100, target=(TARGET, 7)))
        lab.world.inbound(frames.udp(bytes(500), target=(TARGET, 7)))
        assert [len(lab.relay.receive()[2]) for _ in range(4)] == [100, 100, 100, 500]


def test_joined_read_is_cut_and_each_piece_goes_to_its_source() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        lab.relay.receive()
        pieces = [
            FRAMING.header_for(packed(source), 7) + bytes([number]) * 500
            for number, source in enumerate([TARGET, TARGET, "198.51.100.8", TARGET])
        ]
        lab.relay.sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 510)
        lab.relay.sock.sendto(b"".join(pieces), lab.relay.client)
        packets = lab.world.received(3)
        assert [(p.source, p.datagrams()) for p in packets] == [
            (TARGET, [b"\x00" * 500, b"\x01" * 500]),
            ("198.51.100.8", [b"\x02" * 500]),
            (TARGET, [b"\x03" * 500]),
        ]


def test_what_is_no_datagram_of_a_proxy_is_dropped_and_counted() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        lab.relay.receive()
        good = FRAMING.header_for(packed(TARGET), 7)
        for data in (b"", b"\0\0", good[:-1], b"\0\0\x01" + good[3:], b"\0\0\0\x09" + good[4:]):
            lab.relay.sock.sendto(data, lab.relay.client)
        lab.relay.answer("127.0.0.1", 7, b"lies")
        lab.relay.answer("224.0.0.1", 7, b"lies")
        lab.relay.answer(TARGET6, 7, b"another family")
        lab.relay.sock.sendto(b"\0\0\0\x03\x04name\0\x09", lab.relay.client)
        lab.world.settle()
        assert lab.world.sink.frames == []
        assert lab.world.drops() == {"truncated": 2, "fragment": 1, "no_flow": 4, "martian_source": 2}


def test_relay_that_is_gone_refuses_and_ends_the_way() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.relay.receive()
        lab.relay.sock.close()
        lab.world.inbound(frames.udp(b"2", target=(TARGET, 7)))
        kind, code, quote = error_of(lab.world.outbound()[0])
        assert (kind, code) == (3, 3)
        assert quote[28:] == b"2"
        assert lab.world.table.statistics()["ways"] == 0
        assert len(lab.ways.closed) == 1


def test_pending_refusal_refuses_what_is_sent_next() -> None:
    with Proxied() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.relay.receive()
        lab.relay.sock.close()
        frame = frames.udp(b"2", target=(TARGET, 7))
        lab.world.inbound(frame, batch=True)
        lab.world.inbound(frame, batch=True)  # nobody looked at the socket in between
        assert [error_of(frame)[:2] for frame in lab.world.outbound(2)] == [(3, 3)] * 2
        assert lab.world.drops() == {"rejected": 1}


def test_framing_that_raises_ends_its_way_only() -> None:
    class Broken(Framing):
        def header_for(self, target: bytes, port: int, host: str = "") -> bytes:
            return b"abc"

        def payload_off(self, head: bytes) -> int:
            raise RuntimeError("broken")

    with Proxied() as lab:
        lab.ways.framing = Broken()
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        data, client = lab.relay.sock.recvfrom(100)
        assert data == b"abc1"
        lab.relay.sock.sendto(b"abc2", client)
        lab.world.settle()
        assert [str(error) for error in lab.ways.spoiled] == ["broken"]
        assert lab.world.table.statistics()["ways"] == 0


def test_bare_way_serves_the_target_that_it_leads_to() -> None:
    with Proxied() as lab:
        lab.ways.framing = Framing()
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.world.inbound(frames.udp(b"2", target=("198.51.100.8", 7)))
        assert len(lab.ways.asked) == 2
        for payload, source in ((b"1", TARGET), (b"2", "198.51.100.8")):
            data, client = lab.relay.sock.recvfrom(100)
            assert data == payload
            for answer in (b"a", b""):
                lab.relay.sock.sendto(answer, client)
                [packet] = lab.world.received()
                assert (packet.source, packet.payload) == (source, answer)
