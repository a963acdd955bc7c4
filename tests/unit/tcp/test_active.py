"""What the owner may ask for: open, queue, close, abort, took."""

from collections.abc import Callable

import pytest

from tests.unit.tcp import builders
from tests.unit.tcp.builders import (
    START,
    Script,
    close_wait,
    closed,
    established,
    fin_wait_1,
    fin_wait_2,
    settings,
    syn_received,
    syn_sent,
    time_wait,
    unanswered,
)
from tests.unit.tcp.frames import Recorder, ends, parse_sent
from tunproxy.tcp.active import open_active
from tunproxy.tcp.connection import RCV_SHIFT, RESET_BY_US, Connection
from tunproxy.tcp.state import CLOSED, FIN_WAIT_1, LAST_ACK, SYN_RECEIVED, SYN_SENT
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN


def test_open_active_offers_every_option() -> None:
    recorder = Recorder()
    conn = open_active(ends(), settings(), 4999, 7, START, recorder)
    (frame,) = recorder.frames
    sent = parse_sent(frame)
    assert (sent.seq, sent.ack, sent.flags, sent.payload) == (4999, 0, SYN, b"")
    assert (sent.mss, sent.shift, sent.sack_permitted) == (1460, RCV_SHIFT, True)
    assert sent.ts_val == START // 1000 + 7
    assert conn.state == SYN_SENT


@pytest.mark.parametrize("answered", [{}, {"shift": 3}, {"sack_permitted": True}, {"ts": (5, 0)}])
def test_open_active_uses_what_is_answered(answered: dict[str, object]) -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.sends_syn(seq=999, flags=SYN | ACK, ack=5000, mss=1000, **answered)
    conn = peer.conn
    assert conn.sack_on == ("sack_permitted" in answered)
    assert conn.ts_on == ("ts" in answered)
    assert conn.snd_shift == answered.get("shift", 0)
    assert (conn.rcv_shift > 0) == ("shift" in answered)


def test_open_active_measures_the_first_round_trip() -> None:
    peer = Script(syn_sent(snd_nxt=5000))
    peer.sends_syn(seq=999, flags=SYN | ACK, ack=5000)
    assert peer.conn.rtt.srtt == builders.RTT


# close


@pytest.mark.parametrize(("build", "after"), [(established, FIN_WAIT_1), (close_wait, LAST_ACK)])
def test_close_sends_a_fin(build: Callable[..., Connection], after: int) -> None:
    peer = Script(build(snd_nxt=5000))
    peer.closes()
    peer.expects(seq=5000, flags=ACK | PSH | FIN)
    peer.expects_state(after).expects_nothing_more()


def test_close_sends_the_fin_behind_everything_queued() -> None:
    peer = Script(established(snd_nxt=5000))
    peer.queues(bytes(2000))
    peer.sent()
    peer.queues(b"last").closes()
    peer.expects(seq=7000, payload=b"last", flags=ACK | PSH)
    peer.expects(seq=7004, flags=ACK | PSH | FIN)


def test_close_with_data_not_yet_sent_joins_the_fin_to_it() -> None:
    peer = Script(established(snd_nxt=5000))
    peer.conn.buffer.append(b"last")
    peer.closes()
    peer.expects(seq=5000, payload=b"last", flags=ACK | PSH | FIN)
    peer.expects_nothing_more()


@pytest.mark.parametrize("build", [fin_wait_1, fin_wait_2, time_wait, closed])
def test_close_again_does_nothing(build: Callable[..., Connection]) -> None:
    peer = Script(build())
    before = peer.conn.state
    peer.closes()
    peer.expects_state(before).expects_nothing_more()


def test_close_before_the_handshake_ends_waits_for_it() -> None:
    """RFC 9293 §3.10.4, SYN-RECEIVED."""
    peer = Script(syn_received(snd_nxt=5000))
    peer.closes()
    peer.expects_state(SYN_RECEIVED).expects_nothing_more()
    peer.sends()
    peer.expects(seq=5000, flags=ACK | PSH | FIN)
    peer.expects_state(FIN_WAIT_1)
    peer.sends(ack=5001)
    assert peer.deadline is None, "FIN-WAIT-2 waits for the peer as long as it takes"


# abort


@pytest.mark.parametrize("build", [established, fin_wait_1, fin_wait_2, close_wait, syn_received])
def test_abort_sends_a_reset_where_the_peer_is(build: Callable[..., Connection]) -> None:
    """RFC 9293 §3.10.5: <SEQ=SND.NXT><CTL=RST>."""
    peer = Script(build())
    snd_nxt = peer.conn.snd_nxt
    peer.aborts()
    peer.expects(seq=snd_nxt, flags=RST | ACK)
    peer.expects_state(CLOSED).expects_nothing_more()
    assert peer.conn.closed_why == RESET_BY_US


@pytest.mark.parametrize("build", [time_wait, closed])
def test_abort_where_nobody_listens_sends_nothing(build: Callable[..., Connection]) -> None:
    peer = Script(build())
    peer.aborts()
    peer.expects_state(CLOSED).expects_nothing_more()


def test_abort_before_an_answer_resets_the_syn() -> None:
    peer = Script(unanswered(rcv_nxt=1000))
    peer.aborts()
    peer.expects(seq=0, ack=1000, flags=RST | ACK)


def test_abort_lets_go_of_what_was_queued() -> None:
    peer = Script(established())
    peer.queues(bytes(100_000)).aborts()
    assert peer.conn.buffer.length == 0


def test_abort_keeps_what_was_delivered() -> None:
    peer = Script(established())
    peer.sends(payload=b"keep").aborts()
    assert peer.delivered == b"keep"


# took


def test_took_tells_a_stalled_peer_that_the_window_is_open_again() -> None:
    peer = Script(established(rcv_nxt=1000, rcv_buf=40_000))
    peer.sends(payload=bytes(40_000))
    peer.expects(ack=41_000, wnd=0)
    peer.takes(9_999)
    peer.expects_nothing_more()
    peer.takes(1)
    peer.expects(ack=41_000, wnd=10_000, flags=ACK)
    peer.expects_nothing_more()


def test_took_with_much_on_offer_tells_nothing() -> None:
    peer = Script(established(shift=2, rcv_buf=1 << 20))
    peer.sends(payload=bytes(10_000))
    peer.sent()
    peer.takes()
    peer.expects_nothing_more()


def test_took_with_less_than_a_large_segment_on_offer_tells_of_more() -> None:
    """A sender whose segments are larger than the window waits for its timer."""
    peer = Script(established(mtu=65535, shift=2, rcv_buf=1 << 18))
    for _ in range(5):
        peer.sends(payload=bytes(40_000)).waits()
    peer.sent()
    assert 32768 < peer.conn.rcv_adv - peer.conn.rcv_nxt < 65495
    peer.takes()
    assert peer.sent()[0].wnd << RCV_SHIFT == 1 << 18


@pytest.mark.parametrize("build", [close_wait, time_wait, closed])
def test_took_after_the_last_octet_tells_nothing(build: Callable[..., Connection]) -> None:
    conn = build(rcv_buf=1000)
    conn.rcv_queue.append(bytes(900))
    conn.rcv_queued += 900
    conn.rcv_adv = conn.rcv_nxt
    conn.ack_at = -1
    peer = Script(conn)
    peer.takes()
    peer.expects_nothing_more()
