"""Datagrams that are sealed as a whole on their way through a proxy: batches, what cannot be opened."""

import socket

import pytest

from tests.unit.datagram.relays import FRAMING, Choosing, Mask, Proxied
from tests.unit.datagram.test_decisions import error_of
from tests.unit.flow.test_watching import Watcher
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed
from tunproxy.datagram.ear import PATIENCE, TRUSTED_FOR
from tunproxy.flow.seal import Seal

SECOND = 1_000_000
UDP_SEGMENT = 103
ADDED = 4 + 2 + 10  # octets: what a mask adds, and the header
families = pytest.mark.parametrize(("client", "target"), [(CLIENT, TARGET), (CLIENT6, TARGET6)])


@families
def test_datagrams_go_sealed_and_answers_seem_the_targets(client: str, target: str) -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"question", source=(client, 5000), target=(target, 53)))
        assert lab.relay.receive() == (target, 53, b"question")
        lab.relay.answer(target, 53, b"answer")
        [packet] = lab.world.received()
        assert (packet.source, packet.source_port, packet.payload) == (target, 53, b"answer")
        assert (packet.destination, packet.destination_port) == (client, 5000)


def test_targets_of_a_port_share_one_way_and_anybody_may_answer() -> None:
    with Proxied(seal=Mask()) as lab:
        sources = set()
        for number in range(1, 51):
            lab.world.inbound(frames.udp(b"%d" % number, target=(f"198.51.100.{number}", 7)))
            assert lab.relay.receive() == (f"198.51.100.{number}", 7, b"%d" % number)
            sources.add(lab.relay.client)
        assert len(sources) == 1
        lab.relay.answer("203.0.113.99", 9999, b"a stranger")
        [packet] = lab.world.received()
        assert (packet.source, packet.source_port, packet.payload) == ("203.0.113.99", 9999, b"a stranger")


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65_507 - ADDED])
def test_datagram_of_each_size_comes_back_whole(size: int) -> None:
    data = bytes(range(256)) * 256
    with Proxied(mtu=65_535, seal=Mask()) as lab:
        lab.world.inbound(frames.udp(data[:size], target=(TARGET, 7)))
        assert lab.relay.receive() == (TARGET, 7, data[:size])
        lab.relay.answer(TARGET, 7, data[:size])
        [packet] = lab.world.received()
        assert packet.payload == data[:size]


def test_datagram_that_is_too_large_when_it_is_sealed_is_reported() -> None:
    with Proxied(mtu=65_535, seal=Mask()) as lab:
        lab.world.inbound(frames.udp(bytes(65_507 - ADDED + 1), target=(TARGET, 7)))
        assert error_of(lab.world.outbound()[0])[:2] == (3, 4)
        assert lab.world.drops() == {"rejected": 1}


@pytest.mark.parametrize("last", [1000, 300])
def test_super_packet_leaves_in_one_call_as_sealed_datagrams(last: int) -> None:
    payload = b"".join(bytes([number]) * 1000 for number in range(20)) + b"z" * last
    with Proxied(gro=True, seal=Mask()) as lab:
        lab.world.inbound(frames.udp_super(payload, 1000, target=(TARGET, 7)))
        data, control, _, _ = lab.relay.sock.recvmsg(65536, 64)
        assert int.from_bytes(control[0][2][:2], "little") == 1000 + ADDED
        header = FRAMING.header_for(packed(TARGET), 7)
        pieces = [payload[at : at + 1000] for at in range(0, len(payload), 1000)]
        assert data == b"".join(Mask().seal(header, piece) for piece in pieces)


def test_gathered_datagrams_leave_together_up_to_what_the_kernel_takes() -> None:
    sent = [bytes([number]) * 1015 for number in range(64)]
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(*(frames.udp(payload, target=(TARGET, 7)) for payload in sent))
        assert [lab.relay.receive()[2] for _ in sent] == sent


def test_seal_that_makes_sizes_differ_still_gets_every_datagram_there_in_order() -> None:
    class Uneven(Mask):
        def seal(self, header: bytes, payload: bytes | memoryview) -> bytes:
            self.pad = 1 + payload[0] % 7
            return super().seal(header, payload)

    sent = [bytes([number]) * 100 for number in range(60)] + [b"last"]
    with Proxied(seal=Uneven()) as lab:
        lab.world.inbound(*(frames.udp(payload, target=(TARGET, 7)) for payload in sent))
        assert [lab.relay.receive()[2] for _ in sent] == sent


def test_small_datagram_behind_a_super_packet_is_not_cut() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp_super(bytes(300), 100, target=(TARGET, 7)))
        lab.world.inbound(frames.udp(bytes(500), target=(TARGET, 7)))
        assert [len(lab.relay.receive()[2]) for _ in range(4)] == [100, 100, 100, 500]


def test_joined_read_is_cut_before_it_is_opened() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        lab.relay.receive()
        pieces = [
            Mask().seal(FRAMING.header_for(packed(source), 7), bytes([number]) * 500)
            for number, source in enumerate([TARGET, TARGET, "198.51.100.8", TARGET])
        ]
        lab.relay.sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 500 + ADDED)
        lab.relay.sock.sendto(b"".join(pieces), lab.relay.client)
        packets = lab.world.received(3)
        assert [(p.source, p.datagrams()) for p in packets] == [
            (TARGET, [b"\x00" * 500, b"\x01" * 500]),
            ("198.51.100.8", [b"\x02" * 500]),
            (TARGET, [b"\x03" * 500]),
        ]


def test_datagrams_that_come_early_wait_in_the_clear_and_leave_sealed() -> None:
    with Proxied(at_once=False, seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)), frames.udp(b"2", target=("198.51.100.8", 7)))
        lab.ways.grant()
        assert [lab.relay.receive()[2] for _ in range(2)] == [b"1", b"2"]


def test_octets_are_counted_for_the_flow_that_they_belong_to() -> None:
    watcher = Watcher()
    with Proxied(seal=Mask(), watcher=watcher) as lab:
        lab.world.inbound(frames.udp(b"12345", target=(TARGET, 7)))
        lab.relay.receive()
        lab.relay.answer(TARGET, 7, b"123")
        lab.relay.answer("203.0.113.99", 7, b"of nobody that was asked")
        lab.world.received(2)
        [life] = lab.world.table.lives()
        assert (life.up, life.down) == (5, 3)


def test_name_goes_to_the_proxy_and_its_address_answers_for_it() -> None:
    decider = Choosing()
    decider.hosts[packed("198.18.0.7")] = "www.example.com"
    with Proxied(decider=decider, seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"hello", target=("198.18.0.7", 443)))
        assert lab.relay.receive() == ("www.example.com", 443, b"hello")
        lab.relay.answer("203.0.113.80", 443, b"hi")
        [packet] = lab.world.received()
        assert (packet.source, packet.source_port, packet.payload) == ("198.18.0.7", 443, b"hi")


def test_idle_way_is_closed_and_the_next_has_a_seal_of_its_own() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.relay.receive()
        lab.relay.answer(TARGET, 7, b"here")
        lab.world.received()
        lab.world.pass_time(301)
        assert lab.world.table.statistics()["ways"] == 0
        lab.ways.seal = lab.relay.seal = Mask(pad=16)
        lab.world.inbound(frames.udp(b"2", target=(TARGET, 7)))
        assert lab.relay.receive()[2] == b"2"


# what cannot be opened


def test_what_cannot_be_opened_is_dropped_counted_and_told_once() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        lab.relay.receive()
        good = Mask().seal(FRAMING.header_for(packed(TARGET), 7), b"answer")
        bad = [b"", b"x", good[:-1], good + b"x"]
        bad += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
        for data in bad:
            lab.relay.sock.sendto(data, lab.relay.client)
            lab.world.settle(0)
        lab.world.settle()
        assert lab.world.sink.frames == []
        assert lab.world.drops() == {"bad_seal": len(bad)}
        assert lab.ways.troubles == ["the sum is wrong"]
        lab.relay.sock.sendto(good, lab.relay.client)
        [packet] = lab.world.received()
        assert packet.payload == b"answer"


def test_bad_datagram_in_a_joined_read_spoils_no_other() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        lab.relay.receive()
        pieces = [Mask().seal(FRAMING.header_for(packed(TARGET), 7), bytes([n]) * 50) for n in range(3)]
        pieces[1] = bytes(len(pieces[1]))
        lab.relay.sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(pieces[0]))
        lab.relay.sock.sendto(b"".join(pieces), lab.relay.client)
        [packet] = lab.world.received()
        assert packet.datagrams() == [b"\x00" * 50, b"\x02" * 50]
        assert lab.world.drops() == {"bad_seal": 1}


def test_what_is_sealed_and_names_nobody_is_dropped_and_counted() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        lab.relay.receive()
        lab.relay.answer("127.0.0.1", 7, b"lies")
        lab.relay.answer(TARGET6, 7, b"another family")
        lab.relay.sock.sendto(Mask().seal(b"\0\0\0\x09", b"no such kind"), lab.relay.client)
        lab.world.settle()
        assert lab.world.sink.frames == []
        assert lab.world.drops() == {"no_flow": 2, "martian_source": 1}


def test_seal_that_raises_ends_its_way_only() -> None:
    class Broken(Seal):
        def seal(self, header: bytes, payload: bytes | memoryview) -> bytes:
            raise RuntimeError("broken")

    with Proxied(seal=Broken()) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        assert [str(error) for error in lab.ways.spoiled] == ["broken"]
        assert lab.world.table.statistics()["ways"] == 0
        lab.ways.seal = lab.relay.seal = Mask()
        lab.world.inbound(frames.udp(b"2", target=(TARGET, 7)))
        assert lab.relay.receive()[2] == b"2"
        lab.ways.seal = Broken()
        source = (CLIENT, 5001)
        lab.world.inbound(*(frames.udp(b"3", source=source, target=(TARGET, 7)) for _ in range(2)))
        assert len(lab.ways.spoiled) == 2
        assert lab.world.table.statistics()["ways"] == 1


# silence


def test_server_that_never_answers_is_told_of_after_a_while() -> None:
    with Proxied(seal=Mask()) as lab:
        for port in (5000, 5001):
            lab.world.inbound(frames.udp(b"x", source=(CLIENT, port), target=(TARGET, 7)))
            lab.relay.receive()
        lab.world.pass_time(PATIENCE / SECOND - 1)
        assert lab.ways.troubles == []
        lab.world.pass_time(1.5)
        assert len(lab.ways.troubles) == 2, "complaints are counted where they are told"
        assert "no datagram has come back for 5 s" in lab.ways.troubles[0]
        lab.world.pass_time(60)
        assert len(lab.ways.troubles) == 2


def test_silent_target_of_a_server_that_has_answered_others_is_nobodys_fault() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"x", source=(CLIENT, 5000), target=(TARGET, 7)))
        lab.relay.receive()
        lab.relay.answer(TARGET, 7, b"here")
        lab.world.received()
        lab.world.inbound(frames.udp(b"x", source=(CLIENT, 5001), target=(TARGET, 9)))
        lab.world.pass_time(PATIENCE / SECOND + 1)
        assert lab.ways.troubles == []
        lab.world.pass_time(TRUSTED_FOR / SECOND + 1)
        lab.world.inbound(frames.udp(b"x", source=(CLIENT, 5002), target=(TARGET, 9)))
        lab.world.pass_time(PATIENCE / SECOND + 1)
        assert len(lab.ways.troubles) == 1, "that was long ago"


# the end


def test_server_that_is_gone_refuses_ends_the_way_and_is_told_of() -> None:
    with Proxied(seal=Mask()) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.relay.receive()
        lab.relay.sock.close()
        lab.world.inbound(frames.udp(b"2", target=(TARGET, 7)))
        kind, code, quote = error_of(lab.world.outbound()[0])
        assert (kind, code) == (3, 3)
        assert quote[20:24] == (5000).to_bytes(2, "big") + (7).to_bytes(2, "big")
        assert lab.world.table.statistics()["ways"] == 0
        assert len(lab.ways.gone) == 1
