"""Ends of connections, with what gets lost on the way (RFC 9293 §3.6, RFC 1122 §4.2.2.13)."""

from collections.abc import Callable

import pytest

from tests.unit.tcp.builders import (
    Script,
    close_wait,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    time_wait,
)
from tunproxy.tcp.connection import FINISHED, RESET_BY_PEER, TIME_WAIT_LENGTH, Connection
from tunproxy.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    TIME_WAIT,
)
from tunproxy.wire.tcp import ACK, FIN, PSH, RST


def test_fin_with_data_in_every_receiving_state() -> None:
    """§3.10.7.4, seventh and eighth: the data first, then the FIN behind it."""
    for build, after in ((established, CLOSE_WAIT), (fin_wait_1, TIME_WAIT), (fin_wait_2, TIME_WAIT)):
        peer = Script(build(rcv_nxt=1000))
        peer.sends(payload=b"last words", flags=ACK | PSH | FIN)
        assert peer.delivered == b"last words"
        assert peer.conn.rcv_nxt == 1011
        peer.expects_state(after)


def test_fin_with_data_that_crosses_the_window_waits_until_all_of_it_fits() -> None:
    peer = Script(established(rcv_nxt=1000, rcv_buf=1000))
    peer.sends(payload=bytes(1500), flags=ACK | FIN)
    peer.expects_state(ESTABLISHED)
    peer.waits()
    peer.expects(ack=2000, wnd=0)
    peer.takes()
    peer.sent()
    peer.sends(seq=2000, payload=bytes(500), flags=ACK | FIN)
    peer.expects_state(CLOSE_WAIT)
    assert peer.conn.rcv_nxt == 2501


@pytest.mark.parametrize("build", [fin_wait_1, last_ack, closing])
def test_our_fin_is_sent_again_until_it_is_acknowledged(build: Callable[..., Connection]) -> None:
    """§3.8.1: a FIN takes a number, so it is retransmitted like an octet."""
    peer = Script(build(snd_nxt=5000))
    state = peer.conn.state
    peer.sent()
    for _ in range(3):
        peer.waits()
        peer.expects(seq=5000, ack=peer.conn.rcv_nxt, payload=b"", flags=ACK | FIN)
        peer.expects_state(state).expects_nothing_more()
    peer.sends(ack=5001)
    peer.expects_state({FIN_WAIT_1: FIN_WAIT_2, LAST_ACK: CLOSED, CLOSING: TIME_WAIT}[state])


@pytest.mark.parametrize("build", [close_wait, closing, last_ack, time_wait])
def test_peers_fin_again_is_acknowledged_again(build: Callable[..., Connection]) -> None:
    """§3.10.7.4: our acknowledgment of it was lost."""
    peer = Script(build(rcv_nxt=1000))
    before = peer.conn.state
    peer.sent()
    for _ in range(3):
        peer.sends(seq=1000, flags=ACK | FIN, ack=peer.conn.snd_una)
        peer.expects(seq=peer.conn.snd_nxt, ack=1001, flags=ACK, payload=b"")
        peer.expects_state(before).expects_nothing_more()


def test_peers_fin_again_with_its_data_is_acknowledged_and_not_delivered_again() -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=b"bye", flags=ACK | FIN)
    assert peer.takes() == b"bye"
    peer.sends(seq=1000, payload=b"bye", flags=ACK | FIN)
    peer.expects(ack=1004, flags=ACK)
    assert peer.delivered == b""
    peer.expects_state(CLOSE_WAIT)


def test_simultaneous_close_with_both_acknowledgments_lost() -> None:
    """Figure 13, and then each side sends its FIN once more."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.closes()
    peer.sends(flags=ACK | FIN, ack=5000).expects_state(CLOSING)
    peer.sent()
    peer.waits()
    peer.expects(seq=5000, ack=1001, flags=ACK | FIN)
    peer.sends(seq=1000, flags=ACK | FIN, ack=5001)
    peer.expects(seq=5001, ack=1001, flags=ACK)
    peer.sends(seq=1001, ack=5001).expects_state(TIME_WAIT)
    assert peer.now + TIME_WAIT_LENGTH == peer.conn.time_wait_at
    peer.waits()
    peer.expects_state(CLOSED)
    assert peer.conn.closed_why == FINISHED


def test_simultaneous_close_with_data_both_ways_loses_none() -> None:
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.queues(b"ours").closes()
    peer.sends(payload=b"theirs", flags=ACK | FIN, ack=5000).expects_state(CLOSING)
    assert peer.takes() == b"theirs"
    assert b"".join(sent.payload for sent in peer.sent()) == b"ours"
    peer.sends(ack=5005).expects_state(TIME_WAIT)


def test_data_after_we_have_forgotten_is_reset_at_its_number() -> None:
    """§3.10.7.1, RFC 1122 §4.2.2.13: nobody reads any more, and the sender hears of it."""
    peer = Script(last_ack(rcv_nxt=1000, snd_nxt=5000))
    peer.sends().expects_state(CLOSED)
    peer.sent()
    peer.sends(seq=1001, ack=5001, payload=b"too late")
    peer.expects(seq=5001, flags=RST)
    peer.expects_nothing_more()


def test_reset_carries_on_over_data_that_was_delivered() -> None:
    """§3.10.7.4, second: what the peer had sent before stays for the owner to take."""
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=b"before")
    peer.sends(flags=RST)
    assert peer.conn.closed_why == RESET_BY_PEER
    assert peer.delivered == b"before"


def test_half_closed_connection_moves_data_both_orders_for_as_long_as_it_likes() -> None:
    """§3.6, cases 1 and 2."""
    peer = Script(close_wait(snd_nxt=5000))
    for n in range(50):
        peer.at(n * 10**9).queues(b"down")
        peer.sends()
    peer.expects_state(CLOSE_WAIT)
    peer = Script(fin_wait_2(rcv_nxt=1000))
    for n in range(50):
        peer.at(n * 10**9).sends(payload=b"up")
    assert peer.takes() == b"up" * 50
    peer.expects_state(FIN_WAIT_2)
