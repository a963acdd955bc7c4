"""The receiving half, step by step of RFC 9293 §3.10.7."""

import sys
from collections.abc import Callable

import pytest

from tests.unit.tcp import builders
from tests.unit.tcp.builders import (
    START,
    SYNCHRONIZED,
    TS_SENT,
    Script,
    close_wait,
    closed,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    syn_received,
    syn_sent,
    time_wait,
    unanswered,
)
from tests.unit.tcp.frames import arriving
from tunproxy.tcp.connection import (
    DELAYED_ACK,
    FINISHED,
    RESET_BY_PEER,
    TIME_WAIT_LENGTH,
    Connection,
)
from tunproxy.tcp.receive import is_acceptable
from tunproxy.tcp.segments import CHALLENGE_LIMIT, OVERDRAFT
from tunproxy.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

in_synchronized_states = pytest.mark.parametrize("build", SYNCHRONIZED.values(), ids=SYNCHRONIZED)


# first: is it acceptable? (RFC 9293 §3.10.7.4, table 6)


@pytest.mark.parametrize("base", [1000, 2**32 - 50])
@pytest.mark.parametrize(
    ("wnd", "start", "length", "verdict"),
    [
        (0, 0, 0, True),  # row 1: no data, no window
        (0, -1, 0, False),
        (0, 1, 0, False),
        (100, 0, 0, True),  # row 2: no data, some window
        (100, 99, 0, True),
        (100, 101, 0, False),
        (100, -1, 0, False),
        (0, 0, 1, False),  # row 3: data, no window
        (0, -1, 1, False),
        (100, 0, 1, True),  # row 4: data, some window
        (100, 99, 1, True),
        (100, 99, 50, True),
        (100, 100, 1, False),
        (100, -10, 10, False),
        (100, -10, 11, True),
        (100, -10, 110, True),
    ],
)
def test_acceptable_as_in_table_6(base: int, wnd: int, start: int, length: int, verdict: bool) -> None:
    conn = established(rcv_nxt=base)
    conn.rcv_adv = (base + wnd) % 2**32
    seg = arriving(conn.ends, seq=(base + start) % 2**32, flags=ACK, wnd=100, payload=bytes(length))
    assert is_acceptable(conn, seg) == verdict


def test_acceptable_bare_segment_at_the_right_edge() -> None:
    """What a peer that has filled our window sends; table 6 would lose its acknowledgments."""
    conn = established(rcv_nxt=1000)
    conn.rcv_adv = 1100
    assert is_acceptable(conn, arriving(conn.ends, seq=1100, flags=ACK, wnd=100))


def test_acceptable_segment_that_begins_before_and_ends_behind_the_window() -> None:
    """Table 6 looks at the ends only; there is new data in the middle."""
    conn = established(rcv_nxt=1000)
    conn.rcv_adv = 1010
    assert is_acceptable(conn, arriving(conn.ends, seq=990, flags=ACK, wnd=100, payload=bytes(100)))


@pytest.mark.parametrize(("flags", "length"), [(SYN | ACK, 0), (ACK | FIN, 0), (SYN | ACK | FIN, 1)])
def test_acceptable_counts_syn_and_fin(flags: int, length: int) -> None:
    conn = established(rcv_nxt=1000)
    seg = arriving(conn.ends, seq=999, flags=flags, wnd=100, payload=bytes(length))
    assert is_acceptable(conn, seg) == (seg.end > 1000)


def test_established_old_duplicate_is_acked_again() -> None:
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.at(0).sends(seq=900, payload=b"old")
    peer.expects(seq=5000, ack=1000, flags=ACK)
    peer.expects_nothing_more()


@in_synchronized_states
def test_unacceptable_segment_is_answered_with_an_ack(build: Callable[..., Connection]) -> None:
    peer = Script(build())
    snd_nxt, rcv_nxt = peer.conn.snd_nxt, peer.conn.rcv_nxt
    peer.sends(seq=rcv_nxt - 500, payload=b"old")
    peer.expects(seq=snd_nxt, ack=rcv_nxt, flags=ACK, payload=b"")
    peer.expects_nothing_more()


@in_synchronized_states
def test_unacceptable_reset_is_ignored(build: Callable[..., Connection]) -> None:
    peer = Script(build())
    before = peer.conn.state
    peer.sends(seq=peer.conn.rcv_nxt - 500, flags=RST)
    peer.expects_state(before).expects_nothing_more()


def test_established_data_beyond_the_window_is_acked_and_not_kept() -> None:
    peer = Script(established(rcv_nxt=1000, wnd=500))
    peer.sends(seq=1000 + 0x10000, payload=b"far")
    peer.expects(ack=1000, flags=ACK)
    assert peer.delivered == b""
    assert peer.conn.assembler is None


def test_established_data_across_the_right_edge_is_cut_there() -> None:
    """RFC 9293 §3.10.7.4: segments with higher beginning… may be trimmed to the window."""
    conn = established(rcv_nxt=1000)
    conn.rcv_adv = 1004
    peer = Script(conn)
    peer.sends(seq=1000, payload=b"abcdef", flags=ACK | FIN)
    assert peer.delivered == b"abcd"
    peer.expects_state(ESTABLISHED)


def test_established_data_that_we_have_in_part_is_cut_at_the_left() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(seq=1000, payload=b"abc").sends(seq=1001, payload=b"XXdef")
    assert peer.delivered == b"abcdef"
    assert peer.conn.rcv_nxt == 1006


# timestamps (RFC 7323)


def test_timestamps_are_on_every_segment_once_agreed_on() -> None:
    """RFC 7323 §3.2."""
    peer = Script(established(ts=True, shift=7))
    peer.at(5_000).sends(payload=b"x" * 3000)
    peer.expects(flags=ACK, ts_val=(START + 5_000) // 1000, ts_ecr=TS_SENT + 5)
    peer.queues(b"y")
    peer.expects(payload=b"y", ts_ecr=TS_SENT + 5)
    peer.closes()
    peer.expects(flags=ACK | PSH | FIN, ts_ecr=TS_SENT + 5)


def test_timestamps_not_offered_are_not_sent() -> None:
    peer = Script(established(ts=False))
    peer.sends(payload=b"x" * 3000, ts=(1, 1))
    peer.expects(flags=ACK, ts_val=None)


def test_timestamp_older_than_the_last_is_dropped_and_acked() -> None:
    """PAWS, RFC 7323 §5.3 R1."""
    peer = Script(established(rcv_nxt=1000, ts=True))
    peer.at(1000).sends(payload=b"new")
    peer.sent()
    peer.sends(payload=b"old", ts=(TS_SENT - 1, 0))
    assert peer.delivered == b"new"
    peer.expects(ack=1003, flags=ACK)


def test_timestamp_equal_to_the_last_is_taken() -> None:
    peer = Script(established(ts=True))
    peer.sends(payload=b"a", ts=(TS_SENT, 0)).sends(payload=b"b", ts=(TS_SENT, 0))
    assert peer.delivered == b"ab"


def test_timestamp_that_wrapped_is_taken() -> None:
    peer = Script(established(ts=True))
    peer.conn.ts_recent = 0xFFFF_FFFF
    peer.sends(payload=b"x", ts=(3, 0))
    assert peer.delivered == b"x"


def test_timestamp_of_a_reset_is_not_looked_at() -> None:
    """RFC 7323 §5.2: a reset is exempt from PAWS."""
    peer = Script(established(ts=True))
    peer.sends(flags=RST, ts=(TS_SENT - 1000, 0))
    peer.expects_state(CLOSED)


def test_timestamp_missing_where_agreed_is_tolerated() -> None:
    """RFC 7323 §3.2 would have it dropped; middleboxes strip options, and the kernel takes it too."""
    peer = Script(established(ts=True))
    peer.sends(payload=b"x", ts=False)
    assert peer.delivered == b"x"


def test_timestamp_after_24_days_of_silence_is_taken_whatever_it_says() -> None:
    """RFC 7323 §5.5: after that long the peer's clock may have wrapped."""
    peer = Script(established(ts=True))
    peer.sends(payload=b"a")
    peer.waits()
    peer.at(25 * 24 * 3600 * 1_000_000).sends(payload=b"b", ts=(TS_SENT - 1, 0))
    assert peer.delivered == b"ab"
    peer.sent()
    peer.queues(b"c")
    peer.expects(ts_ecr=TS_SENT - 1)


def test_timestamp_echoed_is_that_of_the_segment_at_the_left_edge() -> None:
    """RFC 7323 §4.3: a segment ahead of a gap does not set TS.Recent."""
    peer = Script(established(rcv_nxt=1000, ts=True))
    peer.at(0).sends(seq=1000, payload=b"a", ts=(TS_SENT + 1, 0))
    peer.at(1).sends(seq=1002, payload=b"c", ts=(TS_SENT + 9, 0))
    peer.expects(ack=1001, ts_ecr=TS_SENT + 1)
    peer.at(2).sends(seq=1001, payload=b"b", ts=(TS_SENT + 10, 0))
    peer.expects(ack=1003, ts_ecr=TS_SENT + 10)


# second: RST (RFC 5961 §3)


@in_synchronized_states
def test_reset_at_the_left_edge_closes(build: Callable[..., Connection]) -> None:
    """RFC 9293 §3.10.7.4, second: in the last three states that is no reset to anybody."""
    peer = Script(build())
    is_over = peer.conn.state in (CLOSING, LAST_ACK, TIME_WAIT)
    peer.sends(flags=RST)
    peer.expects_state(CLOSED).expects_nothing_more()
    assert peer.conn.closed_why == (FINISHED if is_over else RESET_BY_PEER)


def test_reset_that_meets_data_not_acknowledged_is_a_reset() -> None:
    peer = Script(close_wait())
    peer.queues(b"who knows").closes()
    peer.sends(flags=RST)
    assert peer.conn.closed_why == RESET_BY_PEER


@in_synchronized_states
@pytest.mark.parametrize("ahead", [1, 1000, 60_000])
def test_reset_elsewhere_in_the_window_is_challenged(build: Callable[..., Connection], ahead: int) -> None:
    peer = Script(build())
    before, rcv_nxt, snd_nxt = peer.conn.state, peer.conn.rcv_nxt, peer.conn.snd_nxt
    peer.sends(seq=rcv_nxt + ahead, flags=RST)
    peer.expects(seq=snd_nxt, ack=rcv_nxt, flags=ACK)
    peer.expects_state(before).expects_nothing_more()


def test_reset_at_the_left_edge_closes_though_the_window_is_shut() -> None:
    """RFC 9293 §3.10.7.4: special allowance for a window of zero."""
    peer = Script(established(rcv_buf=4000))
    peer.sends(payload=bytes(4000))
    peer.expects(wnd=0)
    peer.sends(flags=RST).expects_state(CLOSED)


# fourth: SYN (RFC 5961 §4)


@in_synchronized_states
@pytest.mark.parametrize("offset", [-1, 0, 1, 1000, 500_000])
def test_syn_is_challenged_wherever_it_lies(build: Callable[..., Connection], offset: int) -> None:
    peer = Script(build())
    before, rcv_nxt, snd_nxt = peer.conn.state, peer.conn.rcv_nxt, peer.conn.snd_nxt
    peer.sends_syn(seq=rcv_nxt + offset)
    peer.expects(seq=snd_nxt, ack=rcv_nxt, flags=ACK)
    peer.expects_state(before).expects_nothing_more()


def test_challenges_are_limited_to_some_a_second() -> None:
    """RFC 5961 §7."""
    peer = Script(established())
    for _ in range(CHALLENGE_LIMIT + 5):
        peer.sends_syn(seq=1000)
    assert len(peer.sent()) == CHALLENGE_LIMIT
    peer.at(1_000_000).sends_syn(seq=1000)
    assert len(peer.sent()) == 1


# fifth: ACK


@in_synchronized_states
def test_segment_without_ack_is_dropped(build: Callable[..., Connection]) -> None:
    peer = Script(build())
    before = peer.conn.state
    peer.sends(flags=0, payload=b"x")
    peer.expects_state(before).expects_nothing_more()
    assert peer.delivered == b""


def test_syn_received_ack_too_high_sends_rst() -> None:
    """RFC 9293 §3.10.7.4, fifth: <SEQ=SEG.ACK><CTL=RST>."""
    peer = Script(syn_received(rcv_nxt=1000, snd_nxt=5000))
    peer.sends(ack=5001)
    peer.expects(seq=5001, flags=RST)
    peer.expects_state(SYN_RECEIVED).expects_nothing_more()


def test_syn_received_ack_too_low_sends_rst() -> None:
    peer = Script(syn_received(rcv_nxt=1000, snd_nxt=5000))
    peer.sends(ack=4999)
    peer.expects(seq=4999, flags=RST)
    peer.expects_state(SYN_RECEIVED)


def test_syn_received_ack_with_data_and_fin_is_taken_whole() -> None:
    peer = Script(syn_received(rcv_nxt=1000))
    peer.sends(payload=b"all", flags=ACK | FIN)
    assert peer.delivered == b"all"
    peer.expects_state(CLOSE_WAIT)


def test_syn_received_duplicate_syn_is_answered_with_the_same_syn_ack() -> None:
    conn = syn_received(rcv_nxt=1000, snd_nxt=5000, mss=1400)
    peer = Script(conn)
    peer.sends_syn(seq=999, mss=1400)
    peer.expects(seq=4999, ack=1000, flags=SYN | ACK, mss=1460)
    peer.expects_state(SYN_RECEIVED).expects_nothing_more()


def test_syn_received_duplicate_syn_with_data_is_answered_with_the_same_syn_ack() -> None:
    """RFC 7413: the data reaches into the window, which makes it no other SYN."""
    conn = syn_received(rcv_nxt=1000, snd_nxt=5000)
    peer = Script(conn)
    peer.sends(seq=999, ack=0, flags=SYN, payload=b"early")
    peer.expects(seq=4999, ack=1000, flags=SYN | ACK)
    peer.expects_state(SYN_RECEIVED).expects_nothing_more()
    assert peer.delivered == b""


def test_syn_received_window_stays_where_an_answer_has_put_it() -> None:
    """The SYN that is sent again can say less, having no scale; what was promised is still taken."""
    peer = Script(syn_received(rcv_nxt=1000, shift=7))
    peer.sends(seq=900, payload=b"old")
    adv = peer.conn.rcv_adv
    peer.waits()
    assert peer.conn.rcv_adv == adv


def test_syn_received_data_ahead_of_the_acknowledgment_of_our_syn_waits() -> None:
    """The ACK was lost; data that carries it does as well."""
    peer = Script(syn_received(rcv_nxt=1000))
    peer.sends(seq=1003, payload=b"def")
    peer.expects_state(ESTABLISHED)
    peer.expects(ack=1000, flags=ACK)
    peer.sends(seq=1000, payload=b"abc")
    assert peer.delivered == b"abcdef"


def test_established_ack_of_data_not_sent_is_acked_and_dropped() -> None:
    """RFC 9293 §3.10.7.4, fifth, RFC 5961 §5."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.sends(ack=5001, payload=b"x", wnd=1)
    peer.expects(seq=5000, ack=1000, flags=ACK)
    peer.expects_nothing_more()
    assert peer.delivered == b""
    assert peer.conn.snd_wnd == builders.WND


def test_established_ack_older_than_the_largest_window_is_challenged_and_dropped() -> None:
    """RFC 5961 §5: blind data injection."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=500_000, wnd=1000))
    peer.sends(ack=500_000 - 1001, payload=b"x")
    peer.expects(seq=500_000, ack=1000, flags=ACK)
    assert peer.delivered == b""
    peer.sends(ack=500_000 - 1000, payload=b"y")
    assert peer.delivered == b"y"


def test_established_old_ack_with_new_data_is_taken_and_moves_no_window() -> None:
    peer = Script(established(snd_nxt=5000))
    peer.queues(b"z" * 100)
    peer.sends()
    peer.sent()
    peer.sends(ack=5050, payload=b"late", wnd=7)
    assert peer.delivered == b"late"
    assert peer.conn.snd_una == 5100
    assert peer.conn.snd_wnd == builders.WND


@pytest.mark.parametrize(
    ("seq", "ack", "taken"),
    [
        (1010, 5000, True),  # newer segment
        (1000, 5000, True),  # same segment, same ACK
        (999, 5000, False),  # older segment
    ],
)
def test_established_window_follows_the_newest_segment(seq: int, ack: int, taken: bool) -> None:
    """RFC 9293 §3.10.7.4, fifth: SND.WL1 and SND.WL2."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.sends(seq=seq, ack=ack, wnd=1234)
    assert (peer.conn.snd_wnd == 1234) == taken


def test_established_window_follows_a_new_acknowledgment_in_an_old_segment() -> None:
    """The peer sends its first segment again, and has taken ours since: its window is that of now."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000, wnd=2000))
    peer.queues(bytes(2000))
    peer.sends(seq=3000, ack=5000, payload=b"ahead", wnd=2000)
    peer.sent()
    peer.sends(seq=1000, ack=7000, payload=b"again", wnd=0).queues(b"x")
    assert peer.conn.snd_wnd == 0
    assert all(sent.payload == b"" for sent in peer.sent())


def test_established_window_is_scaled_by_the_peers_shift() -> None:
    """RFC 7323 §2.3."""
    peer = Script(established(shift=9))
    peer.sends(wnd=100)
    assert peer.conn.snd_wnd == 100 << 9


def test_established_window_shut_data_still_carries_an_acknowledgment() -> None:
    """RFC 9293 §3.10.7.4: ACKs are processed though a zero window makes every segment unacceptable."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000, rcv_buf=1000))
    peer.queues(b"z" * 10)
    peer.sends(payload=bytes(1000), ack=5000)
    peer.sent()
    peer.sends(payload=b"more", ack=5010)
    assert peer.conn.snd_una == 5010
    assert len(peer.delivered) == 1000
    peer.expects(ack=2000, wnd=0)


# sixth: URG


def test_established_urgent_data_stays_in_line() -> None:
    """RFC 6093 §4: what everybody does with it."""
    peer = Script(established())
    peer.sends(payload=b"abc", flags=ACK | URG | PSH)
    assert peer.delivered == b"abc"


# seventh: text


def test_established_data_in_order_is_delivered() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=b"abc").sends(payload=b"def")
    assert peer.delivered == b"abcdef"
    assert peer.conn.rcv_nxt == 1006


def test_established_large_data_is_handed_over_as_a_view() -> None:
    peer = Script(established())
    data = bytes(range(256)) * 100
    peer.sends(payload=data)
    assert peer.delivered == data
    assert isinstance(peer.conn.rcv_queue[0], memoryview)


def test_established_small_data_is_joined() -> None:
    peer = Script(established())
    for _ in range(1000):
        peer.sends(payload=b"x")
    assert len(peer.conn.rcv_queue) < 10


def test_established_data_ahead_of_a_gap_is_kept_and_acked_at_once() -> None:
    """RFC 5681 §4.2: an immediate duplicate ACK."""
    peer = Script(established(rcv_nxt=1000))
    peer.sends(seq=1003, payload=b"def")
    peer.expects(ack=1000, flags=ACK)
    assert peer.delivered == b""
    peer.sends(seq=1000, payload=b"abc")
    peer.expects(ack=1006, flags=ACK)
    assert peer.delivered == b"abcdef"


def test_established_each_segment_ahead_of_a_gap_is_acked_though_they_come_in_one_batch() -> None:
    """RFC 5681 §3.2: a sender without SACK waits for three of them."""
    peer = Script(established(rcv_nxt=1000))
    for number in range(1, 4):
        peer.sends(seq=1000 + number, payload=b"x", settle=False)
    peer.settles()
    assert [sent.ack for sent in peer.sent()] == [1000, 1000, 1000]


def test_established_gap_is_acked_at_once_though_data_goes_out_too() -> None:
    """RFC 5681 §2: a segment with data is no duplicate ACK to the peer, and holds no SACK blocks."""
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(seq=1003, payload=b"def", settle=False)
    peer.queues(b"z")
    found = peer.sent()
    assert [(sent.payload, sent.blocks) for sent in found] == [(b"", [(1003, 1006)]), (b"z", [])]


def test_established_gap_filled_in_part_is_acked_at_once() -> None:
    """RFC 5681 §4.2."""
    peer = Script(established(rcv_nxt=1000))
    peer.sends(seq=1002, payload=b"c").sends(seq=1006, payload=b"g")
    peer.sent()
    peer.sends(seq=1000, payload=b"ab")
    peer.expects(ack=1003, flags=ACK)


def test_established_second_full_segment_is_acked_at_once() -> None:
    """RFC 9293 §3.8.6.3."""
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=bytes(1460))
    peer.expects_nothing_more()
    peer.sends(payload=bytes(1460))
    peer.expects(ack=3920, flags=ACK)


def test_established_second_full_segment_with_timestamps_is_acked_at_once() -> None:
    """A full segment is shorter by the option that we made it carry."""
    peer = Script(established(rcv_nxt=1000, ts=True))
    peer.sends(payload=bytes(1448)).sends(payload=bytes(1448))
    peer.expects(ack=1000 + 2 * 1448, flags=ACK)


def test_established_small_segment_is_acked_after_a_while() -> None:
    """RFC 9293 §3.8.6.3: less than half a second."""
    peer = Script(established(rcv_nxt=1000))
    peer.at(100).sends(payload=b"x")
    peer.expects_nothing_more()
    assert peer.waits() == 100 + DELAYED_ACK
    peer.expects(ack=1001, flags=ACK)
    peer.expects_nothing_more()
    assert peer.deadline is None


def test_established_delayed_ack_is_not_put_off_by_more_data() -> None:
    peer = Script(established())
    peer.at(0).sends(payload=b"x")
    peer.at(DELAYED_ACK - 1).sends(payload=b"y")
    assert peer.deadline == DELAYED_ACK


def test_established_data_carries_the_acknowledgment_that_is_due() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=b"x")
    peer.queues(b"answer")
    peer.expects(ack=1001, payload=b"answer")
    assert peer.conn.ack_at < 0


@pytest.mark.parametrize("build", [close_wait, closing, last_ack, time_wait])
def test_data_behind_the_peers_fin_is_ignored(build: Callable[..., Connection]) -> None:
    """RFC 9293 §3.10.7.4, seventh: this should not occur; ignore the segment text."""
    peer = Script(build())
    before = peer.conn.rcv_nxt
    peer.sends(payload=b"more", ack=peer.conn.snd_una)
    assert peer.delivered == b""
    assert peer.conn.rcv_nxt == before


@pytest.mark.parametrize("build", [fin_wait_1, fin_wait_2])
def test_data_after_our_fin_is_delivered(build: Callable[..., Connection]) -> None:
    peer = Script(build(rcv_nxt=1000))
    peer.sends(payload=b"still")
    assert peer.delivered == b"still"


def test_octet_by_octet_to_a_stalled_reader_is_bounded_and_loses_nothing() -> None:
    """The window may only close in whole steps of its scale; that must not hold it open."""
    peer = Script(established(rcv_nxt=0, rcv_buf=32768, shift=2, wnd=0xFFFF))
    adv = peer.conn.rcv_adv
    size = 0
    while peer.conn.rcv_adv - peer.conn.rcv_nxt >= 100 and size < 2_000_000:
        peer.sends(payload=bytes(100))
        size += 100
        assert peer.conn.rcv_nxt == size, "in the window, so it is taken"
        if peer.conn.ack_at >= 0:
            peer.at(peer.conn.ack_at - START).wakes()
        assert peer.conn.rcv_adv >= adv
        adv = peer.conn.rcv_adv
    assert 32768 <= peer.conn.rcv_queued <= 32768 + OVERDRAFT


# SACK blocks (RFC 2018)


def test_gap_is_told_in_sack_blocks_newest_first() -> None:
    peer = Script(established(rcv_nxt=1000, sack=True))
    for seq in (1100, 1300, 1500, 1700):
        peer.sends(seq=seq, payload=bytes(10))
    assert [sent.blocks for sent in peer.sent()] == [
        [(1100, 1110)],
        [(1300, 1310), (1100, 1110)],
        [(1500, 1510), (1300, 1310), (1100, 1110)],
        [(1700, 1710), (1500, 1510), (1300, 1310)],
    ]


def test_gap_without_sack_permission_is_told_by_the_number_alone() -> None:
    peer = Script(established(rcv_nxt=1000, sack=False))
    peer.sends(seq=1100, payload=bytes(10))
    peer.expects(ack=1000, blocks=[])


def test_gap_that_is_filled_is_told_no_more() -> None:
    peer = Script(established(rcv_nxt=1000, sack=True))
    peer.sends(seq=1100, payload=bytes(10))
    peer.sends(seq=1000, payload=bytes(100))
    peer.sent()
    peer.sends(payload=bytes(3000))
    peer.expects(ack=4110, blocks=[])


def test_sack_blocks_and_timestamps_fit_one_header() -> None:
    peer = Script(established(rcv_nxt=1000, sack=True, ts=True))
    for seq in (1100, 1300, 1500, 1700):
        peer.sends(seq=seq, payload=bytes(10))
    assert len(peer.sent()[-1].blocks) == 3


# eighth: FIN


def test_established_fin_is_acked_within_the_delay() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.at(0).sends(flags=ACK | FIN)
    peer.expects_state(CLOSE_WAIT)
    peer.waits()
    peer.expects(ack=1001, flags=ACK)


def test_established_fin_with_data_delivers_the_data() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=b"last", flags=ACK | FIN | PSH)
    peer.expects_state(CLOSE_WAIT)
    assert peer.delivered == b"last"
    assert peer.conn.rcv_nxt == 1005


def test_established_fin_ahead_of_a_gap_waits_for_it() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(seq=1003, payload=b"def", flags=ACK | FIN)
    peer.expects(ack=1000)
    peer.expects_state(ESTABLISHED)
    peer.sends(seq=1000, payload=b"abc")
    peer.expects(ack=1007)
    peer.expects_state(CLOSE_WAIT)
    assert peer.delivered == b"abcdef"


def test_established_fin_on_data_that_we_have_delivers_nothing_again() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=b"data")
    assert peer.takes() == b"data"
    peer.sends(seq=1000, payload=b"data", flags=ACK | FIN)
    peer.expects_state(CLOSE_WAIT)
    assert peer.conn.rcv_queue == []


def test_established_fin_lets_go_of_what_claims_to_lie_behind_it() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(seq=2000, payload=b"behind")
    peer.sends(seq=1000, flags=ACK | FIN)
    peer.expects_state(CLOSE_WAIT)
    assert peer.conn.assembler is None


def test_established_bare_fin_ahead_of_a_gap_is_acked_at_once_and_waits() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(seq=1003, flags=ACK | FIN)
    peer.expects(ack=1000)
    peer.sends(seq=1000, payload=b"abc")
    peer.expects_state(CLOSE_WAIT)


def test_established_fin_behind_a_full_window_is_taken_and_acks_are_still_heard() -> None:
    """It takes a number beyond the edge; nothing that follows may fail for it."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000, rcv_buf=1000))
    peer.queues(b"z" * 10)
    peer.sends(payload=bytes(1000), flags=ACK | FIN, ack=5000, settle=False)
    peer.sends(ack=5010)
    peer.expects_state(CLOSE_WAIT)
    assert peer.conn.snd_una == 5010


def test_fin_again_is_acked_again() -> None:
    peer = Script(close_wait(rcv_nxt=1000))
    peer.sends(seq=1000, flags=ACK | FIN)
    peer.expects(ack=1001, flags=ACK)
    peer.expects_state(CLOSE_WAIT)


# ends: half-closed both ways, simultaneous, TIME-WAIT


def test_client_half_closes_and_still_receives() -> None:
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.sends(payload=b"request", flags=ACK | FIN)
    assert peer.takes() == b"request"
    peer.queues(b"long answer")
    peer.expects(seq=5000, payload=b"long answer", ack=1008)
    peer.sends().queues(b"and more")
    peer.expects(seq=5011, payload=b"and more")
    peer.closes()
    peer.expects(seq=5019, flags=ACK | PSH | FIN)
    peer.expects_state(LAST_ACK)
    peer.sends().expects_state(CLOSED).expects_nothing_more()
    assert peer.conn.closed_why == FINISHED


def test_target_half_closes_and_still_receives() -> None:
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.queues(b"greeting")
    peer.sent()
    peer.closes()
    peer.expects(seq=5008, flags=ACK | PSH | FIN)
    peer.sends().expects_state(FIN_WAIT_2)
    peer.sends(payload=b"upload" * 1000)
    assert peer.takes() == b"upload" * 1000
    peer.sent()
    peer.sends(payload=b"end", flags=ACK | FIN)
    peer.expects(seq=5009, ack=7004, flags=ACK)
    peer.expects_state(TIME_WAIT)
    assert peer.delivered == b"end"


def test_simultaneous_close() -> None:
    """RFC 9293 §3.6, figure 13."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.closes()
    peer.expects(seq=5000, flags=ACK | PSH | FIN)
    peer.sends(flags=ACK | FIN, ack=5000)
    peer.expects(seq=5001, ack=1001, flags=ACK)
    peer.expects_state(CLOSING)
    peer.sends(ack=5001).expects_state(TIME_WAIT).expects_nothing_more()


def test_fin_wait_1_ack_of_data_alone_does_not_move_on() -> None:
    peer = Script(established(snd_nxt=5000))
    peer.queues(b"data").closes()
    peer.sends(ack=5004).expects_state(FIN_WAIT_1)
    peer.sends(ack=5005).expects_state(FIN_WAIT_2)


def test_time_wait_lasts_its_time() -> None:
    peer = Script(time_wait())
    assert peer.waits() == TIME_WAIT_LENGTH
    peer.expects_state(CLOSED).expects_nothing_more()
    assert peer.conn.closed_why == FINISHED


def test_time_wait_fin_again_is_acked_and_starts_the_time_anew() -> None:
    """RFC 9293 §3.10.7.4, eighth."""
    peer = Script(time_wait(rcv_nxt=1000, snd_nxt=5000))
    peer.at(500_000).sends(seq=1000, flags=ACK | FIN)
    peer.expects(seq=5001, ack=1001, flags=ACK)
    assert peer.waits() == 500_000 + TIME_WAIT_LENGTH


def test_time_wait_taking_what_was_delivered_sends_nothing() -> None:
    """A window means nothing to a peer that has finished; it may have forgotten us and would reset."""
    peer = Script(established(rcv_buf=10_000))
    peer.sends(payload=bytes(9000)).closes()
    peer.sends(flags=ACK | FIN).expects_state(TIME_WAIT)
    peer.sent()
    peer.takes()
    peer.expects_nothing_more()


# SYN-SENT (RFC 9293 §3.10.7.3)


def test_syn_sent_ack_of_something_else_is_reset() -> None:
    """First: SEG.ACK =< ISS or SEG.ACK > SND.NXT."""
    for ack in (4998, 4999, 5001):
        peer = Script(syn_sent(snd_nxt=5000))
        peer.sends_syn(seq=999, flags=SYN | ACK, ack=ack)
        peer.expects(seq=ack, flags=RST)
        peer.expects_state(SYN_SENT)


def test_syn_sent_reset_for_something_else_is_ignored() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.sends(seq=0, ack=4999, flags=RST | ACK)
    peer.expects_state(SYN_SENT).expects_nothing_more()


def test_syn_sent_reset_without_ack_is_ignored() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.sends(seq=0, ack=0, flags=RST)
    peer.expects_state(SYN_SENT).expects_nothing_more()


def test_syn_sent_reset_for_our_syn_closes() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.sends(seq=0, ack=5000, flags=RST | ACK)
    peer.expects_state(CLOSED).expects_nothing_more()
    assert peer.conn.closed_why == RESET_BY_PEER


def test_syn_sent_bare_ack_is_ignored() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.sends(seq=0, ack=5000, flags=ACK)
    peer.expects_state(SYN_SENT).expects_nothing_more()


def test_syn_sent_syn_ack_is_acked_at_once() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.sends_syn(seq=999, flags=SYN | ACK, ack=5000, mss=1460)
    peer.expects(seq=5000, ack=1000, flags=ACK)
    peer.expects_state(ESTABLISHED)


def test_syn_sent_that_was_closed_goes_on_to_fin_wait_1() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.queues(b"request").closes()
    peer.expects_nothing_more()
    peer.sends_syn(seq=999, flags=SYN | ACK, ack=5000, mss=1460)
    peer.expects_state(FIN_WAIT_1)
    peer.expects(seq=5000, payload=b"request", flags=ACK | PSH | FIN)
    peer.sends(ack=5008).expects_state(FIN_WAIT_2)


# SYN-RECEIVED while the target has not answered yet


@pytest.mark.parametrize("flags", [SYN, ACK, ACK | FIN, 0])
def test_unanswered_anything_is_met_with_silence(flags: int) -> None:
    peer = Script(unanswered(rcv_nxt=1000))
    peer.sends(seq=999, ack=0, flags=flags).sends(seq=1000, ack=0, flags=flags)
    peer.expects_state(SYN_RECEIVED).expects_nothing_more()
    assert peer.deadline is None


def test_unanswered_reset_closes() -> None:
    """RFC 9293 §3.10.7.4, second: a passive open that is given up."""
    peer = Script(unanswered(rcv_nxt=1000))
    peer.sends(seq=1000, flags=RST)
    peer.expects_state(CLOSED)
    assert peer.conn.closed_why == RESET_BY_PEER


def test_unanswered_reset_elsewhere_is_ignored() -> None:
    peer = Script(unanswered(rcv_nxt=1000))
    peer.sends(seq=1001, flags=RST)
    peer.expects_state(SYN_RECEIVED)


# CLOSED (RFC 9293 §3.10.7.1): segments of the same batch still come


def test_closed_segment_with_ack_is_reset() -> None:
    peer = Script(closed())
    peer.sends(seq=1000, ack=5000, payload=b"x")
    peer.expects(seq=5000, flags=RST)
    peer.expects_state(CLOSED).expects_nothing_more()
    assert peer.conn.closed_why == RESET_BY_PEER
    assert peer.deadline is None


def test_closed_segment_without_ack_is_reset_with_an_acknowledgment() -> None:
    peer = Script(closed())
    peer.sends(seq=1000, flags=FIN, payload=b"abc")
    peer.expects(seq=0, ack=1004, flags=RST | ACK)


def test_closed_reset_is_ignored() -> None:
    peer = Script(closed())
    peer.sends(seq=1000, flags=RST)
    peer.expects_nothing_more()


def test_closed_with_data_under_way_hears_nothing_more() -> None:
    """No timer may come back to life, no reason be overwritten."""
    peer = Script(established(snd_nxt=5000))
    peer.queues(b"x" * 5000)
    peer.aborts()
    why = peer.conn.closed_why
    for _ in range(4):
        peer.sends(ack=5000)
    peer.sends(ack=6000)
    assert peer.deadline is None
    assert peer.conn.closed_why == why


def test_small_part_of_a_large_segment_that_fits_the_window_does_not_pin_the_rest() -> None:
    peer = Script(established(rcv_nxt=1000, rcv_buf=6000))
    peer.sends(payload=bytes(60_000))
    (piece,) = peer.conn.rcv_queue
    assert (type(piece), len(piece)) == (bytes, 6000)


def test_octet_by_octet_flood_costs_octets_and_not_objects() -> None:
    peer = Script(established(rcv_nxt=1000))
    for at in range(10_000):
        peer.sends(payload=b"%d" % (at % 10))
    assert peer.conn.rcv_queued == 10_000
    assert sum(sys.getsizeof(piece) for piece in peer.conn.rcv_queue) < 10_200
    assert peer.delivered == b"0123456789" * 1000
