"""Datagrams to one target in a stream to a proxy: order, sizes, what the socket does not take, the end."""

import errno
import random
import socket
import struct

import pytest

from tests.unit.datagram.relays import Proxied, Rot, Sized, StreamRelay
from tests.unit.datagram.test_decisions import error_of
from tests.unit.flow.test_watching import Watcher
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6
from tunproxy.codecs.capsule_framing import CapsuleFraming
from tunproxy.codecs.capsules import emit_datagram
from tunproxy.datagram.kept import MOST_DATAGRAMS
from tunproxy.datagram.stream_link import MOST_UNSENT

families = pytest.mark.parametrize(("client", "target"), [(CLIENT, TARGET), (CLIENT6, TARGET6)])


class Streamed(Proxied):
    """A table whose ways are streams; relay is their other end."""

    def __init__(self, *, at_once: bool = True, watcher: Watcher | None = None, mtu: int = 1500) -> None:
        self.other_end = StreamRelay()
        super().__init__(at_once=at_once, streams=self.other_end, watcher=watcher, mtu=mtu)


@families
def test_datagrams_go_through_a_stream_and_answers_seem_the_targets(client: str, target: str) -> None:
    with Streamed() as lab:
        lab.world.inbound(frames.udp(b"question", source=(client, 5000), target=(target, 53)))
        assert lab.other_end.receive(1) == [b"question"]
        lab.other_end.answer(b"answer")
        [packet] = lab.world.received()
        assert (packet.source, packet.source_port, packet.payload) == (target, 53, b"answer")
        assert (packet.destination, packet.destination_port) == (client, 5000)


def test_each_pair_of_a_port_and_a_target_has_a_stream_of_its_own() -> None:
    with Streamed() as lab:
        pairs = [(5000, TARGET, 7), (5000, TARGET, 9), (5000, "198.51.100.8", 7), (5001, TARGET, 7)]
        for source, target, port in pairs:
            for _ in range(2):
                frame = frames.udp(b"%d" % port, source=(CLIENT, source), target=(target, port))
                lab.world.inbound(frame)
            assert lab.other_end.receive(2) == [b"%d" % port] * 2
        assert len(lab.other_end.streams) == len(pairs)
        for number in range(len(pairs)):
            lab.other_end.answer(b"%d" % number, number=number)
        packets = lab.world.received(len(pairs))
        assert {(p.destination_port, p.source, p.source_port, p.payload) for p in packets} == {
            (*pair, b"%d" % number) for number, pair in enumerate(pairs)
        }


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65_507])
def test_datagram_of_each_size_comes_back_whole(size: int) -> None:
    data = (bytes(range(256)) * 256)[:size]
    with Streamed(mtu=65_535) as lab:
        lab.world.inbound(frames.udp(data, target=(TARGET, 7)))
        assert lab.other_end.receive(1) == [data]
        lab.other_end.answer(data)
        [packet] = lab.world.received()
        assert packet.payload == data


def test_super_packet_becomes_datagrams_and_answers_become_one() -> None:
    pieces = [bytes([number]) * 1000 for number in range(20)] + [b"last"]
    with Streamed() as lab:
        lab.world.inbound(frames.udp_super(b"".join(pieces), 1000, target=(TARGET, 7)))
        assert lab.other_end.receive(len(pieces)) == pieces
        lab.other_end.answer(*pieces)
        got: list[bytes] = []
        while len(got) < len(pieces):
            for packet in lab.world.received():
                got += packet.datagrams()
        assert got == pieces


def test_answers_may_arrive_cut_anywhere() -> None:
    with Streamed() as lab:
        lab.world.inbound(frames.udp(b"x", target=(TARGET, 7)))
        lab.other_end.receive(1)
        for octet in Sized().head(3) + b"abc" + Sized().head(0) + Sized().head(1) + b"d":
            lab.other_end.streams[0].sendall(bytes([octet]))
            lab.world.settle(0.01)
        assert [packet.payload for packet in lab.world.received(3)] == [b"abc", b"", b"d"]


def test_codec_is_around_the_stream_and_what_came_early_is_in_the_clear() -> None:
    with Streamed(at_once=False) as lab:
        lab.ways.codec = Rot()
        lab.ways.rest = Sized().head(5) + b"early"
        lab.world.inbound(frames.udp(b"question", target=(TARGET, 7)))
        lab.ways.grant()
        assert [packet.payload for packet in lab.world.received()] == [b"early"]
        turned = bytes(octet ^ 0xFF for octet in lab.other_end.streams[0].recv(100))
        assert Sized().take(turned) == [b"question"]
        answer = Sized().head(6) + b"answer"
        lab.other_end.streams[0].sendall(bytes(octet ^ 0xFF for octet in answer))
        assert [packet.payload for packet in lab.world.received()] == [b"answer"]


def test_datagrams_that_come_early_wait_in_order() -> None:
    with Streamed(at_once=False) as lab:
        for number in range(MOST_DATAGRAMS + 5):
            lab.world.inbound(frames.udp(b"%d" % number, target=(TARGET, 7)))
        lab.ways.grant()
        assert lab.other_end.receive(MOST_DATAGRAMS) == [b"%d" % number for number in range(MOST_DATAGRAMS)]
        assert lab.world.drops() == {"waiting_full": 5}


def test_octets_are_counted_for_the_flow() -> None:
    watcher = Watcher()
    with Streamed(watcher=watcher) as lab:
        lab.world.inbound(frames.udp(b"12345", target=(TARGET, 7)))
        lab.other_end.receive(1)
        lab.other_end.answer(b"123", b"4")
        assert [packet.datagrams() for packet in lab.world.received()] == [[b"123", b"4"]]
        [life] = lab.world.table.lives()
        assert (life.up, life.down) == (5, 4)


# what the socket does not take


def test_what_the_socket_does_not_take_waits_and_beyond_a_bound_is_lost() -> None:
    size = 20_000
    with Streamed(mtu=65_535) as lab:
        sent = [bytes([number]) * size for number in range(60)]
        for payload in sent:
            lab.world.inbound(frames.udp(payload, target=(TARGET, 7)))
        lost = lab.world.drops()["upstream_full"]
        assert MOST_UNSENT // size < len(sent) - lost < len(sent)
        got: list[bytes] = []
        framing = Sized()
        while len(got) < len(sent) - lost:
            lab.world.settle(0)
            got += lab.other_end.receive(1, framing=framing)
        assert got == sent[: len(got)], "in order, and each whole"
        lab.world.inbound(frames.udp(b"again", target=(TARGET, 7)))
        assert lab.other_end.receive(1, framing=framing) == [b"again"]


def test_proxy_that_wants_answers_and_reads_none_fills_no_memory() -> None:
    class Answering(Rot):
        def answer(self) -> bytes:
            return bytes(200_000)

    with Streamed() as lab:
        lab.ways.codec = Answering()
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        for _ in range(200):
            lab.other_end.streams[0].sendall(b"?")
            lab.world.settle(0.01)
            if lab.ways.spoiled:
                break
        assert [str(error) for error in lab.ways.spoiled] == ["it wants answers and takes none"]
        assert lab.world.table.statistics()["ways"] == 0


# the end


def test_stream_that_ends_is_opened_again_by_the_next_datagram() -> None:
    with Streamed() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.other_end.receive(1)
        lab.other_end.streams[0].close()
        lab.world.settle()
        assert lab.world.table.statistics()["ways"] == 0
        assert lab.ways.closed == [lab.ways.asked[0][2]]
        assert lab.ways.troubles == []
        lab.world.inbound(frames.udp(b"2", target=(TARGET, 7)))
        assert lab.other_end.receive(1) == [b"2"]
        assert len(lab.ways.asked) == 2


def test_stream_that_ends_within_a_datagram_is_told_of() -> None:
    with Streamed() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.other_end.receive(1)
        lab.other_end.streams[0].sendall(Sized().head(100) + b"only this")
        lab.other_end.streams[0].close()
        lab.world.settle()
        assert lab.world.sink.frames == []
        assert lab.ways.troubles == ["it ended the stream within a datagram"]


def test_stream_that_is_reset_is_told_of_and_refused_in_the_flows_record() -> None:
    watcher = Watcher()
    with Streamed(watcher=watcher) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.other_end.receive(1)
        lab.other_end.streams[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lab.other_end.streams[0].close()
        lab.world.settle()
        assert lab.ways.troubles == ["the stream for datagrams was lost: connection reset by peer"]
        assert lab.world.table.statistics()["ways"] == 0
        [life] = watcher.over
        assert "refused" in life.reason


def test_stream_that_was_reset_unseen_refuses_what_is_sent_next() -> None:
    with Streamed() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.other_end.receive(1)
        lab.other_end.streams[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lab.other_end.streams[0].close()
        lab.world.inbound(frames.udp(b"2", target=(TARGET, 7)))  # nobody looked at the socket in between
        assert len(lab.ways.troubles) == 1
        lab.world.inbound(frames.udp(b"3", target=(TARGET, 7)))
        assert lab.other_end.receive(1) == [b"3"]


def test_octets_that_are_no_datagrams_end_the_stream_only() -> None:
    with Streamed() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)), frames.udp(b"2", target=(TARGET, 9)))
        lab.other_end.streams[0].sendall(Sized().head(2) + b"ok" + bytes(2) + b"!!")
        lab.world.settle()
        assert [str(error) for error in lab.ways.spoiled] == ["no datagram has this length"]
        assert lab.world.table.statistics()["ways"] == 1
        lab.other_end.answer(b"still here", number=1)
        assert [packet.payload for packet in lab.world.received()][-1] == b"still here"


def test_stream_that_is_spoiled_from_the_beginning_refuses_what_has_waited() -> None:
    with Streamed(at_once=False) as lab:
        lab.ways.rest = bytes(2)
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)), frames.udp(b"2", target=(TARGET, 7)))
        lab.ways.grant()
        assert len(lab.ways.spoiled) == 1
        assert lab.world.drops() == {"table_full": 2}
        assert lab.world.table.statistics()["ways"] == 0


@pytest.mark.parametrize("seed", range(40))
def test_capsules_that_are_spoiled_end_the_stream_or_are_skipped_and_the_next_one_works(seed: int) -> None:
    chance = random.Random(seed)
    with Streamed() as lab:
        lab.ways.stream_framing = CapsuleFraming
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        data = bytearray(b"".join(emit_datagram(bytes(chance.randrange(40))) for _ in range(20)))
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        lab.other_end.streams[0].sendall(data[: chance.randrange(len(data))])
        lab.other_end.streams[0].shutdown(socket.SHUT_WR)
        while lab.world.table.statistics()["ways"]:
            lab.world.poller.poll(lab.world.now, 5)
        lab.world.sink.frames.clear()
        lab.world.inbound(frames.udp(b"2", target=(TARGET, 7)))
        lab.other_end.streams[1].sendall(emit_datagram(b"whole"))
        assert [packet.payload for packet in lab.world.received()] == [b"whole"]


def test_codec_that_finds_the_stream_cut_off_is_told_of() -> None:
    with Streamed() as lab:
        lab.ways.codec = codec = Rot()
        codec.is_cut_by_end = True
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.other_end.streams[0].recv(100)
        lab.other_end.streams[0].close()
        lab.world.settle()
        assert [str(error) for error in lab.ways.spoiled] == ["cut off"]
        assert lab.world.table.statistics()["ways"] == 0


def test_codec_that_says_that_nothing_follows_ends_the_way() -> None:
    with Streamed() as lab:
        lab.ways.codec = codec = Rot()
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        codec.is_over = True
        lab.other_end.streams[0].sendall(bytes(octet ^ 0xFF for octet in Sized().head(3) + b"bye"))
        assert [packet.payload for packet in lab.world.received()] == [b"bye"]
        assert lab.world.table.statistics()["ways"] == 0


def test_idle_stream_is_closed() -> None:
    with Streamed() as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.other_end.receive(1)
        lab.world.pass_time(301)
        assert lab.world.table.statistics()["ways"] == 0
        assert lab.other_end.streams[0].recv(1) == b""


def test_stream_that_cannot_be_opened_refuses() -> None:
    with Streamed(at_once=False) as lab:
        lab.world.inbound(frames.udp(b"1", target=(TARGET, 7)))
        lab.ways.asked[0][2].failed(errno.EHOSTUNREACH)
        assert error_of(lab.world.outbound()[0])[:2] == (3, 1)
