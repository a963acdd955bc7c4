"""The link does to packets what networks do; dpkt says whether they are right."""

import random
from itertools import pairwise

import dpkt
import pytest

from tests.sim.link import Link, LinkPlan, bleach, corrupt, cut, ecn_field, strip
from tests.unit.tcp.builders import Script, established, unanswered
from tests.unit.tcp.frames import Recorder, parse_sent
from tunproxy.tcp.passive import accept
from tunproxy.wire.ip import IpView, parse_ip
from tunproxy.wire.reasons import OK
from tunproxy.wire.tcp import ACK, CWR, ECE, FIN, PSH, SYN, Segment, parse_tcp
from tunproxy.wire.vnet import VNET_LEN

CONTENT = random.Random(3).randbytes(10_000)


def super_packet(*, ipv6: bool = False, size: int = 10_000) -> bytes:
    peer = Script(established(tso=True, ipv6=ipv6, ts=True, snd_nxt=2**32 - 4000))
    peer.conn.buffer.append(CONTENT[:size])
    peer.closes()
    (frame,) = peer.recorder.frames
    return frame


def read(packet: bytes) -> dpkt.tcp.TCP:
    """Return the TCP header, having compared both checksums with dpkt's own."""
    raw = packet[VNET_LEN:]
    ip = dpkt.ip6.IP6(raw) if raw[0] >> 4 == 6 else dpkt.ip.IP(raw)
    tcp = ip.data
    tcp.sum = 0
    if isinstance(ip, dpkt.ip.IP):
        ip.sum = 0
    assert bytes(ip) == raw
    return tcp


@pytest.mark.parametrize("ipv6", [False, True])
def test_cut_makes_packets_as_a_network_card_does(ipv6: bool) -> None:
    frame = super_packet(ipv6=ipv6)
    whole = parse_sent(frame)
    pieces = [read(packet) for packet in cut(frame)]
    assert b"".join(piece.data for piece in pieces) == CONTENT == whole.payload
    assert all(len(piece.data) == whole.gso_size for piece in pieces[:-1])
    seq = whole.seq
    for piece in pieces:
        assert piece.seq == seq
        assert piece.ack == whole.ack
        seq = (seq + len(piece.data)) % 2**32
    assert all(piece.flags & (FIN | PSH) == 0 for piece in pieces[:-1])
    assert pieces[-1].flags == whole.flags
    if not ipv6:
        ids = [dpkt.ip.IP(packet[VNET_LEN:]).id for packet in cut(frame)]
        assert ids == list(range(len(ids)))


def test_cut_completes_the_checksum_of_an_ordinary_packet() -> None:
    frame = super_packet(size=7)
    (packet,) = cut(frame)
    assert read(packet).data == CONTENT[:7]
    assert len(packet) == len(frame)


@pytest.mark.parametrize("ipv6", [False, True])
def test_corruption_is_noticed_or_harmless(ipv6: bool) -> None:
    """In IPv6 nothing covers the traffic class, the flow label and the hop limit."""
    draw = random.Random(4)
    packet = cut(super_packet(ipv6=ipv6, size=500))[0]
    good, view = Segment(), IpView()
    assert parse_ip(packet, VNET_LEN, len(packet), view) == OK == parse_tcp(packet, view, False, good)
    passed = 0
    for _ in range(3000):
        damaged = corrupt(packet, draw)
        assert damaged != packet
        seg, view = Segment(), IpView()
        if parse_ip(damaged, VNET_LEN, len(damaged), view) != OK or view.protocol != 6:
            continue
        if parse_tcp(damaged, view, False, seg) == OK:
            passed += 1
            assert damaged[VNET_LEN + 8 :] == packet[VNET_LEN + 8 :]
            assert (seg.seq, seg.ack, seg.length) == (good.seq, good.ack, good.length)
    assert passed == 0 if not ipv6 else passed < 60


def test_strip_takes_options_out_of_syns_only() -> None:
    recorder = Recorder()
    accept(unanswered(sack=True, ts=True, shift=3), 1, recorder)
    sent = parse_sent(strip(recorder.frames[0], (3, 8)))
    assert (sent.shift, sent.ts_val, sent.sack_permitted, sent.mss) == (None, None, True, 1460)
    data = super_packet(size=10)
    assert strip(data, (3, 8)) == data


def carried(plan: LinkPlan, count: int, *, seed: int = 1) -> list[tuple[int, bytes]]:
    """Send that many small packets, numbered by their length, a millisecond apart; return what arrives."""
    found: list[tuple[int, bytes]] = []
    link = Link(plan, seed, lambda frame, at: found.append((at, frame)))
    for number in range(count):
        link.send(super_packet(size=number + 1), 1000 * number)
    return sorted(found, key=lambda arrival: arrival[0])


def test_link_without_faults_delivers_everything_in_order_and_in_time() -> None:
    found = carried(LinkPlan(delay=500), 20)
    assert [at for at, _ in found] == [1000 * number + 500 for number in range(20)]
    assert [len(frame) for _, frame in found] == sorted(len(frame) for _, frame in found)


def test_link_loses_doubles_and_reorders_as_often_as_it_should() -> None:
    found = carried(LinkPlan(loss=0.3), 300)
    assert 170 < len(found) < 250
    found = carried(LinkPlan(duplication=0.3), 300)
    assert 350 < len(found) < 430
    sizes = [len(frame) for _, frame in carried(LinkPlan(delay=5000, reordering=0.3), 300)]
    assert sizes != sorted(sizes)
    assert len(sizes) == 300


def test_link_with_jitter_alone_keeps_the_order() -> None:
    sizes = [len(frame) for _, frame in carried(LinkPlan(delay=5000, jitter=5000), 100)]
    assert sizes == sorted(sizes)


def test_link_with_a_rate_lets_packets_wait_and_drops_what_does_not_fit() -> None:
    found: list[int] = []
    link = Link(LinkPlan(delay=0, rate=100_000, queue=3000), 1, lambda _, at: found.append(at))
    for _ in range(10):
        link.send(super_packet(size=1000), 0)
    assert link.lost == 10 - len(found) > 3
    gaps = {after - before for before, after in pairwise(found)}
    assert all(10_000 < gap < 11_000 for gap in gaps)


def test_link_in_an_outage_delivers_nothing() -> None:
    found = carried(LinkPlan(delay=0, outages=((5000, 10_000),)), 20)
    assert [at // 1000 for at, _ in found] == [*range(5), *range(10, 20)]


def test_link_refuses_a_packet_beyond_its_mtu() -> None:
    link = Link(LinkPlan(mtu=1400), 1, lambda _, __: None)
    with pytest.raises(AssertionError, match="1500 octets"):
        link.send(super_packet(), 0)


@pytest.mark.parametrize("ipv6", [False, True])
def test_router_marks_what_is_ecn_capable_and_nothing_else(ipv6: bool) -> None:
    """RFC 3168 §5; dpkt compares the checksums."""
    peer = Script(established(syn_flags=SYN | ECE | CWR, ipv6=ipv6, mss=1000))
    peer.queues(bytes(3000)).closes()
    arrived: list[bytes] = []
    link = Link(LinkPlan(marks=1.0), 0, lambda packet, at: arrived.append(packet))
    for frame in peer.recorder.frames:
        link.send(frame, 0)
    for packet in arrived:
        assert ecn_field(packet) == (3 if read(packet).data else 0)
    assert link.marked == 3
    assert len(arrived) == 4


def test_middlebox_takes_the_offer_of_ecn_out_of_syns_only() -> None:
    peer = Script(unanswered(syn_flags=SYN | ECE | CWR))
    peer.accepts().sends(payload=b"x", ecn=3)
    answer, echo = peer.recorder.frames
    assert [parse_sent(frame).flags for frame in (answer, echo)] == [SYN | ACK | ECE, ACK | ECE]
    assert parse_sent(bleach(answer)).flags == SYN | ACK
    assert bleach(echo) == echo
