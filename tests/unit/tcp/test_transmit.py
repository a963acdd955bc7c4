"""The sending half: how data is cut, what limits it, and what each frame says."""

import pytest

from tests.unit.tcp.builders import START, WND, Script, established, fin_wait_2, time_wait
from tests.unit.tcp.frames import Recorder, Sent
from tunproxy.tcp.connection import RCV_SHIFT, Connection
from tunproxy.tcp.segments import OVERDRAFT, send_probe, take_window
from tunproxy.tcp.transmit import transmit
from tunproxy.wire.tcp import ACK, FIN, PSH


def sizes(sent: list[Sent]) -> list[int]:
    return [one.length for one in sent]


def content(count: int) -> bytes:
    return bytes(number * 7 % 251 for number in range(count))


# cutting


def test_data_leaves_in_segments_of_the_send_mss() -> None:
    peer = Script(established(snd_nxt=5000, mss=1000))
    data = content(3500)
    peer.queues(data)
    sent = peer.sent()
    assert sizes(sent) == [1000, 1000, 1000, 500]
    assert [one.seq for one in sent] == [5000, 6000, 7000, 8000]
    assert b"".join(one.payload for one in sent) == data
    assert {one.gso_size for one in sent} == {0}


@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize("ipv6", [False, True])
def test_data_leaves_in_super_packets_where_the_device_cuts_them(ipv6: bool, ts: bool) -> None:
    peer = Script(established(snd_nxt=5000, tso=True, ipv6=ipv6, ts=ts, shift=7, wnd=WND))
    peer.sends(wnd=WND)
    data = content(200_000)
    peer.queues(data)
    sent = peer.sent()
    mss = peer.conn.snd_mss
    assert sum(sizes(sent)) == 200_000
    assert b"".join(one.payload for one in sent) == data
    assert {one.gso_size for one in sent} == {mss}
    assert all(one.length % mss == 0 for one in sent[:-1])
    assert sent[0].length == peer.conn.snd_burst > 63_000


def test_data_of_one_segment_is_no_super_packet() -> None:
    peer = Script(established(tso=True))
    peer.queues(bytes(1460))
    peer.expects(gso_size=0)
    peer.queues(bytes(1461))
    peer.expects(gso_size=1460, payload=bytes(1461))


def test_data_from_many_pieces_is_gathered() -> None:
    peer = Script(established(tso=True))
    data = content(40_000)
    for at in range(0, 40_000, 3000):
        peer.conn.buffer.append(data[at : at + 3000])
    peer.settles()
    peer.expects(payload=data)
    peer.expects_nothing_more()


def test_large_data_in_a_window_that_ends_within_a_segment_leaves_in_whole_segments() -> None:
    peer = Script(established(snd_nxt=5000, tso=True, mss=1000, wnd=10_700))
    peer.queues(bytes(20_000))
    assert sizes(peer.sent()) == [10_000], "700 more would be silly"


def test_push_marks_the_end_of_what_is_there() -> None:
    """RFC 9293 §3.9.1.2: the last segment that empties the queue."""
    peer = Script(established(mss=1000))
    peer.queues(bytes(2500))
    assert [one.flags for one in peer.sent()] == [ACK, ACK, ACK | PSH]


def test_fin_follows_data_in_the_same_segment_at_the_end_of_a_super_packet() -> None:
    peer = Script(established(tso=True))
    peer.conn.buffer.append(bytes(5000))
    peer.closes()
    peer.expects(payload=bytes(5000), gso_size=1460, flags=ACK | PSH | FIN)
    peer.expects_nothing_more()


def test_small_writes_are_not_held_back() -> None:
    """No Nagle: the client's own kernel has applied it, or was told not to."""
    peer = Script(established())
    for number in range(5):
        peer.queues(bytes((number,)))
    assert sizes(peer.sent()) == [1, 1, 1, 1, 1]


# the peer's window


def test_window_limits_what_is_under_way() -> None:
    peer = Script(established(snd_nxt=5000, wnd=3000, mss=1000))
    peer.queues(bytes(5000))
    assert sizes(peer.sent()) == [1000, 1000, 1000]
    peer.sends(ack=6000, wnd=3000)
    assert sizes(peer.sent()) == [1000]


def test_window_of_zero_stops_everything_and_starts_the_probes() -> None:
    peer = Script(established())
    peer.sends(wnd=0).queues(b"x")
    peer.expects_nothing_more()
    assert peer.conn.persist_at >= 0


def test_window_that_opens_stops_the_probes() -> None:
    peer = Script(established(snd_nxt=5000))
    peer.sends(wnd=0).queues(bytes(3000))
    peer.sends(wnd=1000)
    assert peer.conn.persist_at < 0
    assert peer.conn.rto_at >= 0


def test_window_of_zero_holds_the_fin_back() -> None:
    peer = Script(established())
    peer.sends(wnd=0).closes()
    peer.expects_nothing_more()
    peer.sends(wnd=1)
    peer.expects(flags=ACK | PSH | FIN)


def test_window_that_data_fills_holds_the_fin_back() -> None:
    peer = Script(established(snd_nxt=5000, wnd=100))
    peer.conn.buffer.append(bytes(100))
    peer.closes()
    peer.expects(payload=bytes(100), flags=ACK | PSH)
    peer.expects_nothing_more()
    peer.sends(ack=5100, wnd=100)
    peer.expects(seq=5100, flags=ACK | PSH | FIN)


def test_window_that_shrinks_below_what_is_under_way_is_survived() -> None:
    """RFC 9293 §3.8.6: a sender must be robust against it."""
    peer = Script(established(snd_nxt=5000))
    peer.queues(bytes(10_000))
    peer.sent()
    peer.sends(ack=5000, wnd=1000).queues(b"more")
    peer.expects_nothing_more()
    peer.sends(ack=15_000, wnd=1000)
    peer.expects(seq=15_000, payload=b"more")


def test_window_too_small_for_a_segment_waits_while_data_is_under_way() -> None:
    """RFC 9293 §3.8.6.2.1: silly window avoidance."""
    peer = Script(established(snd_nxt=5000, wnd=2500, mss=1000))
    peer.queues(bytes(5000))
    assert sizes(peer.sent()) == [1000, 1000], "500 is less than half of the largest window"
    peer.sends(ack=6000, wnd=2500)
    assert sizes(peer.sent()) == [1000]


def test_window_of_half_the_largest_is_worth_a_small_segment() -> None:
    """RFC 9293 §3.8.6.2.1: Fs = 1/2."""
    peer = Script(established(snd_nxt=5000, wnd=1000, mss=1000))
    peer.queues(bytes(5000))
    peer.sent()
    peer.sends(ack=6000, wnd=400)
    assert sizes(peer.sent()) == [400], "nothing is under way: there is nothing to wait for"
    peer.sends(ack=6100, wnd=800)
    assert sizes(peer.sent()) == [500], "800 less 300 under way"


def test_congestion_window_limits_what_is_under_way() -> None:
    peer = Script(established(snd_nxt=5000, cwnd=0, mss=1000))
    peer.queues(bytes(50_000))
    assert sizes(peer.sent()) == [1000] * 10
    peer.sends(ack=7000)
    assert sizes(peer.sent()) == [1000] * 4, "two arrived, and slow start adds two"


# our window


def window(conn: Connection) -> int:
    return take_window(conn) << conn.rcv_shift


def test_window_never_shrinks_while_the_queue_fills() -> None:
    """RFC 9293 §3.8.6."""
    peer = Script(established(rcv_nxt=0, rcv_buf=100_000, shift=7))
    adv = 0
    while peer.conn.rcv_adv - peer.conn.rcv_nxt >= 777:
        peer.sends(payload=bytes(777))
        edge = peer.conn.rcv_nxt + window(peer.conn)
        assert edge >= adv
        adv = edge
    assert peer.conn.rcv_queued <= 100_000 + OVERDRAFT


def test_window_opens_only_by_a_segment_or_more() -> None:
    """RFC 9293 §3.8.6.2.2."""
    peer = Script(established(rcv_nxt=0, rcv_buf=60_000))
    peer.sends(payload=bytes(10_000))
    adv = peer.conn.rcv_adv
    peer.takes(1459)
    window(peer.conn)
    assert peer.conn.rcv_adv == adv
    peer.takes(1)
    window(peer.conn)
    assert peer.conn.rcv_adv == adv + 1460


def test_window_opens_by_half_of_a_buffer_smaller_than_two_segments() -> None:
    """RFC 9293 §3.8.6.2.2: Fr = 1/2."""
    peer = Script(established(rcv_nxt=0, rcv_buf=1000))
    peer.sends(payload=bytes(1000))
    assert window(peer.conn) == 0
    peer.takes(499)
    assert window(peer.conn) == 0
    peer.takes(1)
    assert window(peer.conn) == 500


def test_window_is_rounded_up_to_its_scale_and_what_was_promised_is_taken() -> None:
    peer = Script(established(rcv_nxt=0, rcv_buf=12_800, shift=7))
    peer.sends(payload=bytes(1), settle=False)
    assert window(peer.conn) == 12_800
    peer.sends(seq=1, payload=bytes(12_800), settle=False)
    assert peer.conn.rcv_nxt == 12_801


def test_window_promised_beyond_the_overdraft_is_rounded_down_and_taken_all_the_same() -> None:
    """RFC 7323 §2.4: honor what any acknowledgment promised."""
    peer = Script(established(rcv_nxt=0, rcv_buf=12_800, shift=7))
    while peer.conn.rcv_queued - 12_800 + window(peer.conn) < OVERDRAFT:
        peer.sends(payload=bytes(100), settle=False)
    adv = peer.conn.rcv_adv
    peer.sends(payload=bytes(100), settle=False)
    assert adv - 128 < peer.conn.rcv_nxt + window(peer.conn) < adv
    assert peer.conn.rcv_adv == adv
    peer.sends(payload=bytes(adv - peer.conn.rcv_nxt), settle=False)
    assert peer.conn.rcv_nxt == adv
    assert window(peer.conn) == 0
    assert peer.conn.rcv_queued <= 12_800 + OVERDRAFT


def test_window_field_is_scaled_and_has_sixteen_bits() -> None:
    peer = Script(established(rcv_buf=1 << 24, shift=7))
    peer.sends(payload=bytes(3000))
    peer.expects(wnd=0xFFFF)
    assert peer.conn.rcv_adv == (1000 + 3000 + (0xFFFF << RCV_SHIFT)) % 2**32


# acknowledgments and probes


def test_acknowledgment_that_data_carries_is_not_sent_twice() -> None:
    peer = Script(established())
    peer.sends(payload=bytes(5000), settle=False)
    peer.queues(b"answer")
    peer.expects(payload=b"answer", ack=6000)
    peer.expects_nothing_more()


@pytest.mark.parametrize("build", [fin_wait_2, time_wait])
def test_nothing_left_to_send_sends_nothing(build: object) -> None:
    peer = Script(build())  # type: ignore[operator]
    peer.settles()
    peer.expects_nothing_more()


def test_probe_asks_with_an_old_number_and_changes_nothing() -> None:
    conn, recorder = established(snd_nxt=0), Recorder()
    before = (conn.snd_una, conn.snd_nxt, conn.recovery)
    send_probe(conn, START, recorder)
    peer = Script(conn)
    peer.recorder.frames += recorder.frames
    peer.expects(seq=0xFFFF_FFFF, payload=b"", flags=ACK)
    assert (conn.snd_una, conn.snd_nxt, conn.recovery) == before


def test_transmit_twice_sends_once() -> None:
    conn, recorder = established(), Recorder()
    conn.buffer.append(b"once")
    transmit(conn, START, recorder)
    transmit(conn, START, recorder)
    assert len(recorder.frames) == 1


def test_round_trip_of_a_bare_fin_ends_with_its_own_acknowledgment() -> None:
    """Data before it was sent earlier: its acknowledgment would measure too little."""
    peer = Script(established(snd_nxt=5000, sack=True))
    peer.at(0).queues(b"data")
    peer.conn.rtt_seq = -1  # as behind a retransmission
    peer.at(100_000).closes()
    peer.at(100_001).sends(ack=5004)
    assert peer.conn.rtt.srtt == 10_000
    peer.at(190_000).sends(ack=5005)
    assert peer.conn.rtt.srtt == 20_000


def test_numbers_wrap_within_a_transfer() -> None:
    peer = Script(established(rcv_nxt=0, snd_nxt=2**32 - 1500, mss=1000))
    data = content(5000)
    peer.queues(data)
    sent = peer.sent()
    assert [one.seq for one in sent] == [2**32 - 1500, 2**32 - 500, 500, 1500, 2500]
    peer.sends(ack=1500).sends(ack=3500)
    assert peer.conn.buffer.length == 0
    assert peer.deadline is None


def test_window_grows_only_as_far_as_it_is_used() -> None:
    """RFC 9438 §5.8: half of it is enough in slow start (RFC 7661 §4.3)."""
    little, much = (Script(established(snd_nxt=0, mss=1000, cwnd=10_000)) for _ in range(2))
    for peer, size in ((little, 4000), (much, 5000)):
        peer.queues(bytes(size)).sends()
    assert little.conn.congestion.cwnd == 10_000
    assert much.conn.congestion.cwnd == 12_000


def test_window_limited_by_the_peer_does_not_grow() -> None:
    """RFC 9438 §4.6: or a loss would find it arbitrarily high."""
    peer = Script(established(snd_nxt=0, mss=1000, wnd=4000, cwnd=10_000))
    for _ in range(10):
        peer.queues(bytes(4000)).sends()
    assert peer.conn.congestion.cwnd == 10_000


def test_idle_connection_starts_with_the_initial_window_again() -> None:
    """RFC 5681 §4.1."""
    peer = Script(established(snd_nxt=0, mss=1000, cwnd=0))
    for number in range(8):
        peer.at(number * 1000).queues(bytes(peer.conn.congestion.cwnd)).sends()
    assert peer.conn.congestion.cwnd > 20_000
    peer.sent()
    peer.at(5_000_000).queues(bytes(20_000))
    assert sum(sent.length for sent in peer.sent()) == 10_000


def test_idle_connection_to_a_local_device_is_not_throttled() -> None:
    """The initial window there is without bounds."""
    peer = Script(established(snd_nxt=0, mss=1000))
    peer.conn.congestion.cwnd = 30_000
    peer.queues(bytes(1000)).sends()
    peer.sent()
    peer.at(5_000_000).queues(bytes(30_000))
    assert sum(sent.length for sent in peer.sent()) == 30_000
