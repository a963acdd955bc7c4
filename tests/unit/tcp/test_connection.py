"""What a connection knows of itself."""

import pytest

from tests.unit.tcp.builders import Script, established, fin_wait_1, settings
from tests.unit.tcp.frames import ends
from tunproxy.tcp.connection import (
    CLOSE_NAMES,
    FINISHED,
    NOT_CLOSED,
    RESET_BY_PEER,
    RESET_BY_US,
    SND_BUF,
    TIMED_OUT,
    Connection,
    close_down,
    free_space,
    send_room,
    set_send_mss,
)
from tunproxy.tcp.state import CLOSED, ESTABLISHED
from tunproxy.wire.ip import MAX_PACKET


def test_flight_size_counts_octets_and_the_fin() -> None:
    """RFC 5681 §2."""
    peer = Script(established(snd_nxt=2**32 - 10))
    assert peer.conn.flight_size == 0
    peer.queues(bytes(100)).closes()
    assert peer.conn.flight_size == 101
    peer.sends(ack=50)
    assert peer.conn.flight_size == 41
    peer.sends(ack=91)
    assert peer.conn.flight_size == 0
    assert peer.conn.buffer.length == 0


def test_free_space_is_what_the_queue_leaves() -> None:
    peer = Script(established(rcv_buf=10_000))
    peer.sends(payload=bytes(4000))
    assert free_space(peer.conn) == 6000
    peer.takes(1000)
    assert free_space(peer.conn) == 7000


def test_send_room_follows_the_window() -> None:
    conn = established(wnd=20_000)
    assert send_room(conn) == 20_000
    conn.buffer.append(bytes(5000))
    assert send_room(conn) == 15_000


def test_send_room_leaves_a_segment_to_probe_with_while_the_window_is_shut() -> None:
    peer = Script(established())
    peer.sends(wnd=0)
    assert send_room(peer.conn) == 1460
    peer.queues(bytes(1460))
    assert send_room(peer.conn) == 0


def test_send_room_is_bounded() -> None:
    peer = Script(established(shift=14))
    peer.sends(wnd=0xFFFF)
    assert peer.conn.snd_wnd > SND_BUF
    assert send_room(peer.conn) == SND_BUF


def test_send_room_follows_congestion() -> None:
    assert send_room(established(cwnd=0)) == 14_600


@pytest.mark.parametrize("sack", [False, True])
def test_send_room_grows_by_what_has_left_the_network(sack: bool) -> None:
    """Or recovery would have nothing new to send, and end in a time-out (RFC 6675 §5, RFC 5681 §3.2)."""
    peer = Script(established(snd_nxt=0, mss=1000, cwnd=0, sack=sack))
    peer.queues(bytes(10_000))
    assert send_room(peer.conn) == 0
    for number in range(1, 7):
        peer.sends(ack=0, blocks=[(1000, 1000 + 1000 * number)] if sack else None)
    assert peer.conn.congestion.cwnd == 7000
    assert send_room(peer.conn) == 7000 + 6000 - 10_000
    peer.queues(bytes(1000))
    assert peer.sent()[-1].seq == 10_000


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize("peer_mss", [64, 536, 1460, 65535])
@pytest.mark.parametrize("mtu", [1280, 1500, 9000, 65535])
def test_burst_is_whole_segments_and_fits_a_packet(ipv6: bool, ts: bool, peer_mss: int, mtu: int) -> None:
    conn = Connection(ends(ipv6=ipv6), settings(mtu=mtu, tso=True), 0, ESTABLISHED)
    conn.ts_on = ts
    set_send_mss(conn, peer_mss)
    headers = (40 if ipv6 else 20) + 20 + (12 if ts else 0)
    assert headers + conn.snd_mss <= mtu
    assert headers + conn.snd_burst <= MAX_PACKET
    assert conn.snd_burst >= conn.snd_mss  # a full segment is never silly
    assert conn.snd_burst % conn.snd_mss == 0
    assert conn.snd_burst > MAX_PACKET - headers - 60 - conn.snd_mss


def test_burst_without_segmentation_offload_is_one_segment() -> None:
    conn = Connection(ends(), settings(tso=False), 0, ESTABLISHED)
    set_send_mss(conn, 1460)
    assert conn.snd_burst == conn.snd_mss == 1460


@pytest.mark.parametrize("why", [FINISHED, RESET_BY_PEER, RESET_BY_US, TIMED_OUT])
def test_close_down_lets_go_of_everything_but_what_was_delivered(why: int) -> None:
    peer = Script(fin_wait_1(sack=True, snd_nxt=5000))
    peer.sends(seq=peer.conn.rcv_nxt + 10, payload=b"ahead").sends(payload=b"kept")
    close_down(peer.conn, why)
    assert peer.conn.state == CLOSED
    assert peer.conn.closed_why == why
    assert peer.deadline is None
    assert peer.conn.assembler is None
    assert peer.delivered == b"kept"
    peer.sent()
    peer.settles()
    peer.expects_nothing_more()


def test_close_names_are_for_people() -> None:
    assert CLOSE_NAMES[NOT_CLOSED] == "open"
    assert CLOSE_NAMES[TIMED_OUT] == "timed out"
