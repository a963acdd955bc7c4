"""Windows, probes and acknowledgments, where the requirement has no test beside the code (RFC 9293 §3.8)."""

from itertools import pairwise

import pytest

from tests.unit.tcp.builders import RTT, START, Script, established
from tunproxy.tcp.connection import DELAYED_ACK
from tunproxy.tcp.rtt import RTO_MIN
from tunproxy.tcp.state import CLOSED, ESTABLISHED
from tunproxy.wire.tcp import ACK, PSH, RST, URG


def full() -> Script:
    """Return the peer of a connection whose window is closed."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000, rcv_buf=2920))
    peer.sends(payload=bytes(2920))
    peer.expects(ack=3920, wnd=0)
    return peer


# MUST-35: the peer probes us


@pytest.mark.parametrize("seq", [3919, 3920], ids=["an old number", "one new octet"])
def test_probe_of_our_closed_window_is_answered_with_its_size(seq: int) -> None:
    """§3.8.6.1: whichever kind of probe it is, and however often it comes."""
    peer = full()
    for _ in range(100):
        peer.sends(seq=seq, payload=b"?" if seq == 3920 else b"")
        peer.expects(seq=5000, ack=3920, wnd=0, flags=ACK)
    peer.takes()
    peer.sent()
    peer.sends(seq=seq)
    assert peer.conn.rcv_nxt == 3920
    peer.expects_state(ESTABLISHED)


def test_probe_after_the_window_opened_is_delivered() -> None:
    peer = full()
    peer.takes()
    assert peer.sent()[-1].wnd == 2920
    peer.sends(seq=3920, payload=b"!")
    assert peer.delivered == b"!"


def test_closed_window_still_takes_reset_and_urgent() -> None:
    """MUST-66."""
    peer = full()
    peer.queues(b"z")
    peer.sends(seq=3920, flags=ACK | URG, ack=5001)
    assert peer.conn.snd_una == 5001, "the acknowledgment of an urgent segment counts"
    peer.sends(seq=3920, flags=RST).expects_state(CLOSED)


# MUST-36, SHLD-29, SHLD-30: we probe the peer


def test_first_probe_waits_one_retransmission_timeout_and_each_next_twice_as_long() -> None:
    peer = Script(established(wnd=0))
    peer.at(0).queues(b"x")
    times = []
    for _ in range(6):
        times.append(peer.waits())
        peer.sent()
        peer.sends(wnd=0)
    assert times[0] == RTO_MIN
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == [RTO_MIN << n for n in range(5)]


# MUST-1, REC-1


@pytest.mark.parametrize("shift", [None, 0, 7, 14])
def test_window_of_the_peer_is_unsigned_and_wide(shift: int | None) -> None:
    peer = Script(established(shift=shift))
    peer.sends(wnd=0xFFFF)
    assert peer.conn.snd_wnd == 0xFFFF << (shift or 0)


# SHLD-14: never shrinking


def test_right_edge_never_moves_left_whatever_is_read_and_received() -> None:
    peer = Script(established(rcv_nxt=1000, rcv_buf=30_000, shift=7))
    peer.sends(payload=b"x" * 10)
    edge = 0
    for n in range(200):
        room = peer.conn.rcv_adv - peer.conn.rcv_nxt
        if room > 0:
            peer.sends(payload=bytes(min(1 + 37 * n % 1460, room)))
        if n % 3 == 0 and peer.conn.rcv_queued > 400:
            peer.takes(400)
        peer.at(n * 10_000).wakes()
        for sent in peer.sent():
            assert sent.ack + (sent.wnd << 7) >= edge
            edge = sent.ack + (sent.wnd << 7)
    assert edge > 31_000


# delayed acknowledgments: MUST-40, SHLD-18, SHLD-19, MUST-58, MUST-59


def test_delayed_acknowledgment_is_far_below_half_a_second() -> None:
    assert 0 < DELAYED_ACK < 500_000
    peer = Script(established(rcv_nxt=1000))
    peer.at(0).sends(payload=b"x")
    assert peer.waits() == DELAYED_ACK
    peer.expects(ack=1001)


def test_batch_of_segments_is_acknowledged_once() -> None:
    """MUST-58, MUST-59: everything that has arrived, then one acknowledgment."""
    peer = Script(established(rcv_nxt=1000))
    for n in range(9):
        peer.sends(seq=1000 + 1460 * n, payload=bytes(1460), settle=False)
    peer.settles()
    peer.expects(ack=1000 + 9 * 1460, flags=ACK)
    peer.expects_nothing_more()


def test_start_of_an_upload_is_acknowledged_at_once_segment_pair_by_segment_pair() -> None:
    """A sender in slow start never waits for our timer, which is what others' quick ACKs are for."""
    peer = Script(established(rcv_nxt=1000))
    for n in range(10):
        peer.sends(payload=bytes(1460))
        assert len(peer.sent()) == n % 2


def test_start_of_an_upload_in_a_super_packet_is_acknowledged_at_once() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=bytes(10 * 1460))
    peer.expects(ack=15_600)


def test_requests_and_answers_never_cost_an_acknowledgment_of_their_own() -> None:
    """Not even the first ones of a connection: an answer within the delay carries it."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    for n in range(50):
        peer.at(n * 10_000).sends(payload=b"request", flags=ACK | PSH)
        peer.at(n * 10_000 + DELAYED_ACK - 1).queues(b"answer")
        peer.expects(payload=b"answer", ack=peer.conn.rcv_nxt)
        peer.at(n * 10_000 + DELAYED_ACK).wakes().expects_nothing_more()


# RFC 6298, RFC 7323 §4: what is measured


def test_round_trip_of_the_handshake_is_the_first_measurement() -> None:
    conn = established()
    assert conn.rtt.srtt == RTT
    assert conn.rto_at < 0
    assert Script(conn).now == START


# MUST-61: PSH


def test_last_segment_of_what_is_queued_has_push() -> None:
    peer = Script(established(mss=1000))
    peer.queues(bytes(2500))
    assert [bool(sent.flags & PSH) for sent in peer.sent()] == [False, False, True]
