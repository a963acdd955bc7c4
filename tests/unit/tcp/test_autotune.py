"""The receive buffer grows with use, shrinks where memory is short, and takes no window back."""

import pytest

from tests.unit.tcp.builders import RTT, Script, established
from tunproxy.tcp.autotune import FLOOR, footprint, give_up_ahead, grow, restore, scant_room, shrink
from tunproxy.tcp.connection import Connection
from tunproxy.wire.tcp import ACK, FIN

START_BUF = 32_000
MSS = 1460


def tuned(most: int = 8 * START_BUF, **how: object) -> Connection:
    """Return a connection whose buffer may grow; its round trip was measured in the handshake."""
    conn = established(rcv_nxt=1000, rcv_buf=START_BUF, rcv_buf_most=most, shift=7, **how)
    assert conn.rtt.srtt == RTT
    return conn


def stream(peer: Script, size: int, us: int, *, is_taken: bool = True) -> None:
    """Have size octets arrive spread over us microseconds; the owner takes them, and tunes."""
    start, done = peer.now, 0
    while done < size:
        piece = min(MSS, size - done)
        done += piece
        peer.now = start + us * done // size
        peer.sends(payload=bytes(piece), settle=False)
        if is_taken:
            peer.takes()
            grow(peer.conn, peer.now)
        else:
            peer.settles()


def test_buffer_used_up_in_each_round_trip_doubles_up_to_the_most() -> None:
    peer = Script(tuned())
    grow(peer.conn, peer.now)
    seen = [peer.conn.rcv_buf]
    while len(seen) < 6:
        stream(peer, peer.conn.rcv_buf, RTT)
        seen.append(peer.conn.rcv_buf)
    assert seen == [START_BUF * n for n in (1, 2, 4, 8, 8, 8)]


def test_larger_buffer_is_offered_to_the_peer() -> None:
    peer = Script(tuned())
    grow(peer.conn, peer.now)
    stream(peer, START_BUF, RTT)
    peer.sent()
    stream(peer, 4 * MSS, 100)
    assert max(sent.wnd << 7 for sent in peer.sent()) > 3 * START_BUF // 2


def test_slow_stream_does_not_grow_the_buffer() -> None:
    peer = Script(tuned())
    grow(peer.conn, peer.now)
    for _ in range(4):
        stream(peer, START_BUF, 3 * RTT)
    assert peer.conn.rcv_buf == START_BUF


def test_owner_that_does_not_take_everything_does_not_grow_the_buffer() -> None:
    peer = Script(tuned())
    conn = peer.conn
    for _ in range(4):
        stream(peer, START_BUF // 2, RTT // 2, is_taken=False)
        peer.takes(START_BUF // 4)
        grow(conn, peer.now)
        peer.takes(START_BUF // 4)
    assert conn.rcv_buf == START_BUF


def test_fixed_buffer_stays() -> None:
    peer = Script(tuned(most=0))
    grow(peer.conn, peer.now)
    for _ in range(3):
        stream(peer, START_BUF, RTT)
    assert peer.conn.rcv_buf == START_BUF


def test_without_a_measured_round_trip_the_quickest_buffer_counts() -> None:
    peer = Script(tuned())
    peer.conn.rtt.srtt = 0
    grow(peer.conn, peer.now)
    stream(peer, START_BUF, 50_000)
    assert (peer.conn.rcv_rtt, peer.conn.rcv_buf) == (50_000, 2 * START_BUF)
    stream(peer, 2 * START_BUF, 150_000)
    assert (peer.conn.rcv_rtt, peer.conn.rcv_buf) == (50_000, 2 * START_BUF)


# shortage


def test_shrink_leaves_the_window_that_was_promised_and_the_peer_may_fill_it() -> None:
    peer = Script(established(rcv_nxt=1000, rcv_buf=1 << 18, shift=7))
    conn = peer.conn
    stream(peer, 10 * MSS, RTT)
    edge = conn.rcv_adv
    peer.sent()
    shrink(conn)
    assert conn.rcv_buf == FLOOR
    while (conn.rcv_adv - conn.rcv_nxt) % 2**32 >= MSS:
        peer.sends(payload=bytes(MSS))
        assert conn.rcv_adv == edge, "neither taken back nor widened"
    assert conn.rcv_queued > FLOOR
    for sent in peer.sent():
        assert sent.ack + (sent.wnd << 7) >= edge - 127  # RFC 7323 §2.4


def test_shrunk_buffer_offers_the_least_once_the_owner_has_taken_all() -> None:
    peer = Script(established(rcv_nxt=1000, rcv_buf=1 << 17, shift=7))
    conn = peer.conn
    shrink(conn)
    while (conn.rcv_adv - conn.rcv_nxt) % 2**32 >= MSS:
        peer.sends(payload=bytes(MSS))
    peer.takes()
    peer.settles()
    assert FLOOR - MSS <= peer.sent()[-1].wnd << 7 <= FLOOR


def test_small_buffer_is_not_shrunk_and_a_grown_one_stays() -> None:
    small, grown = established(rcv_buf=4000), tuned()
    shrink(small)
    assert small.rcv_buf == 4000
    grown.rcv_buf = 3 * START_BUF
    restore(grown)
    assert grown.rcv_buf == 3 * START_BUF
    shrink(grown)
    restore(grown)
    assert grown.rcv_buf == START_BUF


@pytest.mark.parametrize("sack", [False, True])
def test_given_up_octets_arrive_when_they_are_sent_again(sack: bool) -> None:
    peer = Script(established(rcv_nxt=1000, sack=sack))
    conn = peer.conn
    peer.sends(seq=1100, payload=b"b" * 50)
    peer.sends(seq=1150, payload=b"c" * 10, flags=ACK | FIN)
    assert give_up_ahead(conn) == 60
    assert give_up_ahead(conn) == 0
    peer.sent()
    peer.sends(seq=1000, payload=b"a" * 100)
    peer.expects_nothing_more()
    peer.sends(seq=1100, payload=b"b" * 50)
    peer.sends(seq=1150, payload=b"c" * 10)  # the FIN's place was not forgotten
    assert peer.delivered == b"a" * 100 + b"b" * 50 + b"c" * 10
    peer.waits()
    peer.expects(ack=1161)


def test_given_up_octets_are_not_reported_any_more() -> None:
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(seq=1100, payload=b"b" * 50)
    peer.expects(blocks=[(1100, 1150)])
    give_up_ahead(peer.conn)
    peer.sends(seq=1200, payload=b"c")
    peer.expects(blocks=[(1200, 1201)])


def test_scant_room_is_one_segment_less_what_waits() -> None:
    peer = Script(established(wnd=0xFFFF))
    assert scant_room(peer.conn) == MSS
    peer.queues(b"x" * 1000)
    assert scant_room(peer.conn) == 460
    peer.queues(b"x" * 1000)
    assert scant_room(peer.conn) < 0


def test_footprint_counts_both_ways_and_what_lies_ahead() -> None:
    peer = Script(established(rcv_nxt=1000))
    conn = peer.conn
    assert footprint(conn) == 0
    peer.sends(payload=b"x" * 100)
    peer.queues(b"y" * 3000)
    assert footprint(conn) == 3100
    peer.sends(seq=2000, payload=b"z", ack=conn.snd_una)
    assert 3101 < footprint(conn) < 3500, "a piece of one octet costs its objects too"
    peer.sends(ack=conn.snd_una + 2999)
    assert footprint(conn) > 3100, "a piece is kept whole until its last octet is acknowledged"
    peer.sends(ack=conn.snd_nxt)
    give_up_ahead(conn)
    peer.takes()
    assert footprint(conn) == 0
