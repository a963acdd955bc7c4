"""Timers: what is due when, and what is given up when."""

from itertools import pairwise

import pytest

from tests.unit.tcp.builders import (
    RTT,
    START,
    Script,
    established,
    fin_wait_2,
    syn_received,
    syn_sent,
    time_wait,
    unanswered,
)
from tunproxy.tcp.connection import DELAYED_ACK, TIME_WAIT_LENGTH, TIMED_OUT
from tunproxy.tcp.deadline import R2, R2_PROBES, R2_SYN
from tunproxy.tcp.rtt import RTO_MIN
from tunproxy.tcp.state import CLOSED, ESTABLISHED, LAST_ACK, TIME_WAIT
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN


def seconds(us: int) -> float:
    return us / 1_000_000


@pytest.mark.parametrize("build", [unanswered, established, fin_wait_2])
def test_nothing_under_way_waits_for_nothing(build: object) -> None:
    """No idle timer cuts a connection."""
    peer = Script(build())  # type: ignore[operator]
    assert peer.deadline is None
    peer.at(10**12).wakes()
    peer.expects_nothing_more()


def test_waking_early_does_nothing() -> None:
    peer = Script(established())
    peer.at(0).queues(b"x")
    peer.sent()
    peer.at(RTO_MIN - 1).wakes()
    peer.expects_nothing_more()
    assert peer.deadline == RTO_MIN


def test_deadline_is_the_earliest_of_all() -> None:
    peer = Script(established())
    peer.at(0).queues(b"x").sends(payload=b"y", ack=5000)
    assert peer.deadline == DELAYED_ACK
    assert peer.waits() == DELAYED_ACK
    assert peer.deadline == RTO_MIN


# retransmission (RFC 6298 §5)


def test_timeout_sends_the_first_segment_again_and_doubles() -> None:
    """§5.4 to §5.6."""
    peer = Script(established(snd_nxt=5000, mss=1000))
    peer.at(0).queues(bytes(3000))
    peer.sent()
    waited = 0
    for attempt in range(4):
        waited += RTO_MIN << attempt
        assert peer.waits() == waited
        peer.expects(seq=5000, payload=bytes(1000))
        peer.expects_nothing_more()


def test_timer_runs_from_the_first_segment_and_anew_with_each_acknowledgment() -> None:
    """§5.1, §5.3."""
    peer = Script(established(snd_nxt=5000))
    peer.at(0).queues(b"a")
    peer.at(100_000).queues(b"b")
    assert peer.deadline == RTO_MIN
    peer.at(150_000).sends(ack=5001)
    assert peer.deadline == 150_000 + peer.conn.rtt.rto


def test_timer_stops_when_everything_is_acknowledged() -> None:
    """§5.2."""
    peer = Script(established())
    peer.queues(b"a").sends()
    assert peer.deadline is None


def test_acknowledgment_after_a_retransmission_is_no_measurement() -> None:
    """§3, Karn's algorithm: the time-out stays backed off."""
    peer = Script(established(snd_nxt=5000))
    peer.at(0).queues(b"a")
    peer.waits()
    srtt = peer.conn.rtt.srtt
    peer.at(900_000).sends()
    assert peer.conn.rtt.srtt == srtt == RTT
    assert peer.conn.rtt.rto == 2 * RTO_MIN
    peer.at(1_000_000).queues(b"b")
    peer.at(1_050_000).sends()
    assert peer.conn.rtt.rto < 2 * RTO_MIN, "a segment sent once measures again"


def test_peer_that_answers_nothing_is_given_up() -> None:
    """RFC 9293 §3.8.3: R2 is at least 100 s."""
    peer = Script(established(snd_nxt=5000))
    peer.at(0).queues(b"x")
    peer.sent()
    times = []
    while peer.conn.state != CLOSED:
        times.append(peer.waits())
    sent = peer.sent()
    assert len(sent) == R2 + 1
    assert {one.seq for one in sent[:-1]} == {5000}
    assert sent[-1].flags & RST
    assert peer.conn.closed_why == TIMED_OUT
    assert seconds(times[-1]) > 100
    assert peer.deadline is None


def test_any_progress_starts_the_count_anew() -> None:
    peer = Script(established(snd_nxt=5000, mss=1000))
    peer.at(0).queues(bytes(5000))
    for number in range(5):
        for _ in range(R2 - 1):
            peer.waits()
        peer.sends(ack=5000 + 1000 * (number + 1))
    peer.expects_state(ESTABLISHED)


def test_fin_is_sent_again_alone() -> None:
    peer = Script(established(snd_nxt=5000))
    peer.at(0).queues(b"x").sends().closes()
    peer.sent()
    peer.waits()
    peer.expects(seq=5001, payload=b"", flags=ACK | FIN)
    peer.expects_nothing_more()


def test_fin_is_sent_again_with_the_data_before_it() -> None:
    peer = Script(established(snd_nxt=5000, tso=True))
    peer.conn.buffer.append(bytes(3000))
    peer.at(0).closes()
    peer.sent()
    peer.conn.congestion.cwnd = 10_000
    peer.waits()
    assert [(one.seq, one.length) for one in peer.sent()] == [(5000, 1460)]
    peer.sends(ack=6460)
    assert [(one.seq, one.length, one.flags) for one in peer.sent()] == [(6460, 1540, ACK | FIN)]


# the handshake


def test_syn_ack_is_sent_again() -> None:
    """RFC 6298 §2.1: after one second, then two."""
    peer = Script(syn_received(rcv_nxt=1000, snd_nxt=5000, shift=3, sack=True))
    first = peer.waits()
    assert first == 1_000_000 - RTT
    peer.expects(seq=4999, ack=1000, flags=SYN | ACK, shift=7, sack_permitted=True)
    assert peer.waits() - first == 2_000_000


def test_syn_is_sent_again() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.waits()
    peer.expects(seq=4999, ack=0, flags=SYN, mss=1460, sack_permitted=True)


@pytest.mark.parametrize("build", [syn_received, syn_sent])
def test_handshake_that_nobody_finishes_is_given_up(build: object) -> None:
    peer = Script(build())  # type: ignore[operator]
    while peer.conn.state != CLOSED:
        peer.waits()
    sent = peer.sent()
    assert len(sent) == R2_SYN + 1
    assert sent[-1].flags & RST
    assert peer.conn.closed_why == TIMED_OUT


def test_handshake_after_a_retransmission_is_no_measurement() -> None:
    peer = Script(syn_received())
    peer.waits()
    peer.sends()
    assert peer.conn.rtt.srtt < 0
    peer.at(20_000_000).queues(b"x")
    peer.at(20_030_000).sends()
    assert peer.conn.rtt.srtt == 30_000


# the closed window (RFC 9293 §3.8.6.1)


def stalled() -> Script:
    peer = Script(established(snd_nxt=5000))
    peer.at(0).sends(wnd=0).queues(b"waiting")
    peer.expects_nothing_more()
    return peer


def test_probes_come_ever_more_slowly() -> None:
    peer = stalled()
    times = [0]
    for _ in range(12):
        times.append(peer.waits())
        peer.expects(seq=4999, payload=b"", flags=ACK)
        peer.expects_nothing_more()
        peer.sends(wnd=0)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[0] == RTO_MIN
    assert gaps == sorted(gaps)
    assert gaps[-1] == 60_000_000


def test_probes_that_are_answered_go_on_for_days() -> None:
    peer = stalled()
    while peer.now - START < 3 * 24 * 3600 * 1_000_000:
        peer.waits()
        peer.sends(wnd=0)
    peer.expects_state(ESTABLISHED)
    peer.sent()
    peer.sends(wnd=1000)
    peer.expects(seq=5000, payload=b"waiting")
    assert peer.conn.persist_at < 0


def test_probes_that_nobody_answers_end() -> None:
    peer = stalled()
    while peer.conn.state != CLOSED:
        peer.waits()
    sent = peer.sent()
    assert len(sent) == R2_PROBES + 1
    assert sent[-1].flags & RST
    assert peer.conn.closed_why == TIMED_OUT
    assert seconds(peer.now - START) > 100


def test_probes_begin_slowly_again_after_the_window_was_open() -> None:
    peer = stalled()
    for _ in range(5):
        peer.waits()
        peer.sends(wnd=0)
    peer.sends(wnd=7)
    peer.sends(wnd=0)
    opened = peer.now - START
    peer.queues(b"again")
    assert peer.deadline == opened + peer.conn.rtt.rto


def test_window_update_that_was_lost_is_found_by_a_probe() -> None:
    peer = stalled()
    peer.waits()
    peer.sent()
    peer.sends(wnd=100)
    peer.expects(seq=5000, payload=b"waiting", flags=ACK | PSH)


def test_window_taken_back_over_data_under_way_keeps_an_answering_peer() -> None:
    """RFC 9293 §3.8.6.1: as long as it acknowledges, the connection stays open."""
    peer = Script(established(snd_nxt=5000))
    peer.at(0).queues(bytes(1000))
    peer.sends(ack=5000, wnd=0)
    for _ in range(3 * R2):
        peer.waits()
        peer.sends(ack=5000, wnd=0)
    peer.expects_state(ESTABLISHED)
    peer.sent()
    peer.sends(ack=6000, wnd=1000).queues(b"x")
    peer.expects(seq=6000, payload=b"x")


def test_window_taken_back_by_a_peer_that_falls_silent_ends() -> None:
    peer = Script(established(snd_nxt=5000))
    peer.at(0).queues(bytes(1000))
    peer.sends(ack=5000, wnd=0)
    for _ in range(R2_PROBES + 2):
        if peer.conn.state != CLOSED:
            peer.waits()
    assert peer.conn.closed_why == TIMED_OUT


# the end


def test_time_wait_ends() -> None:
    peer = Script(time_wait())
    peer.at(TIME_WAIT_LENGTH - 1).wakes().expects_state(TIME_WAIT)
    peer.at(TIME_WAIT_LENGTH).wakes().expects_state(CLOSED).expects_nothing_more()


def test_last_ack_waits_for_the_acknowledgment_and_gives_up_in_the_end() -> None:
    peer = Script(established())
    peer.sends(flags=ACK | FIN).closes()
    peer.expects_state(LAST_ACK)
    while peer.conn.state != CLOSED:
        peer.waits()
    assert peer.conn.closed_why == TIMED_OUT
