"""A peer that is silent is asked, one that answers stays, one that is gone is found out (RFC 9293 §3.8.4)."""

from collections.abc import Callable

import pytest

from tests.unit.tcp.builders import (
    SYNCHRONIZED,
    Script,
    close_wait,
    established,
    fin_wait_2,
    syn_received,
    syn_sent,
    time_wait,
    unanswered,
)
from tunproxy.tcp.connection import KEEPALIVE, RESET_BY_PEER, TIMED_OUT, Connection, Settings
from tunproxy.tcp.deadline import R2
from tunproxy.tcp.keepalive import EVERY, PROBES, SPREAD_SHIFT, idle_time
from tunproxy.tcp.rtt import RTO_MIN
from tunproxy.tcp.state import CLOSED, ESTABLISHED
from tunproxy.wire.tcp import ACK, FIN, RST, SYN

MINUTE = 60_000_000
AFTER = 2 * MINUTE

IDLE = {"ESTABLISHED": established, "FIN-WAIT-2": fin_wait_2, "CLOSE-WAIT": close_wait}
in_idle_states = pytest.mark.parametrize("build", IDLE.values(), ids=IDLE)


def idle(build: Callable[..., Connection], **how: object) -> Script:
    """Return the peer of a connection that watches over it; what the build left to acknowledge is done."""
    peer = Script(build(keepalive=AFTER, **how))
    if peer.conn.ack_at >= 0:
        peer.waits()
        peer.sent()
    return peer


@in_idle_states
def test_silent_peer_is_probed_with_an_old_number_and_no_data(build: Callable[..., Connection]) -> None:
    """RFC 9293 §3.8.4, SHLD-12."""
    peer = idle(build, rcv_nxt=1000, snd_nxt=5000)
    due = peer.waits()
    assert AFTER - 1 <= due <= AFTER + (AFTER >> SPREAD_SHIFT)
    conn = peer.conn
    peer.expects(seq=conn.snd_una - 1, ack=conn.rcv_nxt, flags=ACK, payload=b"")
    peer.expects_nothing_more()


@in_idle_states
def test_peer_that_answers_stays_for_a_week(build: Callable[..., Connection]) -> None:
    """No idle timer cuts an established flow."""
    peer = idle(build)
    before = peer.conn.state
    for _ in range(10_000):
        peer.waits()
        if peer.sent():
            peer.sends()
    assert peer.now > 7 * 24 * 60 * MINUTE
    peer.expects_state(before)


@in_idle_states
def test_peer_that_is_gone_is_given_up(build: Callable[..., Connection]) -> None:
    """The last probe has its time too (RFC 9293 §3.8.4, MUST-29: one lost answer ends nothing)."""
    peer = idle(build)
    times = []
    while peer.conn.state != CLOSED:
        times.append(peer.waits())
    found = peer.sent()
    assert [sent.flags for sent in found] == [ACK] * PROBES + [RST | ACK]
    assert times[-1] - times[0] == PROBES * EVERY
    assert times[-1] < 6 * MINUTE
    assert peer.conn.closed_why == TIMED_OUT
    assert peer.deadline is None


def test_peer_that_answers_the_last_probe_has_them_all_again() -> None:
    peer = idle(established)
    for _ in range(PROBES):
        peer.waits()
    peer.sends()
    assert len(peer.sent()) == PROBES
    last = peer.now
    while not peer.recorder.frames:
        peer.waits()
    assert peer.now - last >= AFTER
    for _ in range(PROBES - 1):
        peer.waits()
    peer.expects_state(ESTABLISHED)


@in_idle_states
def test_peer_that_knows_nothing_of_it_ends_it_at_the_first_probe(build: Callable[..., Connection]) -> None:
    """Its system answers with a reset, at the number that the probe acknowledged."""
    peer = idle(build)
    peer.waits()
    (probe,) = peer.sent()
    peer.sends(seq=probe.ack, flags=RST)
    peer.expects_state(CLOSED)
    assert peer.conn.closed_why == RESET_BY_PEER


def test_traffic_puts_the_first_probe_off() -> None:
    """RFC 9293 §3.8.4, MUST-26: only where nothing came for so long."""
    peer = idle(established)
    for minute in range(1, 30):
        peer.at(minute * MINUTE).sends(payload=b"x")
        peer.takes()
        peer.at(minute * MINUTE + 10_000).wakes()
    assert all(sent.seq == peer.conn.snd_nxt for sent in peer.sent()), "a probe among the acknowledgments"
    while not peer.recorder.frames:
        peer.waits()
    assert peer.now >= peer.conn.heard_at + AFTER


def test_data_under_way_is_not_probed_for() -> None:
    """MUST-26: retransmission finds out, and gives up after R2."""
    peer = idle(established, snd_nxt=5000)
    peer.at(AFTER - 1).queues(b"answer?")
    while peer.conn.state != CLOSED:
        peer.waits()
    found = peer.sent()
    assert len(found) == 1 + R2 + 1
    assert all(sent.payload == b"answer?" for sent in found[:-1])
    assert found[-1].flags == RST | ACK


def test_shut_window_is_probed_once_and_not_twice() -> None:
    peer = idle(established, wnd=0)
    peer.queues(b"waits")
    for _ in range(60):
        peer.waits()
        for sent in peer.sent():
            assert sent.seq == peer.conn.snd_una - 1
            peer.sends(wnd=0)
        assert peer.conn.keepalives == 0
    assert peer.now > 4 * AFTER
    peer.expects_state(ESTABLISHED)


def test_octets_that_the_target_has_not_taken_keep_a_peer_that_has_finished() -> None:
    """It may have forgotten the connection by now: its reset would cost what it sent."""
    peer = Script(established(keepalive=AFTER))
    peer.sends(payload=b"slow target", flags=ACK | FIN)
    for _ in range(20):
        peer.waits()
    assert all(sent.seq == peer.conn.snd_nxt for sent in peer.sent())
    assert peer.takes() == b"slow target"
    while not peer.recorder.frames:
        peer.waits()
    peer.expects(seq=peer.conn.snd_una - 1)


@pytest.mark.parametrize("build", [unanswered, syn_received, time_wait])
def test_nothing_is_probed_where_no_connection_is(build: Callable[..., Connection]) -> None:
    assert build(keepalive=AFTER).keepalive_at < 0


def test_our_own_connection_watches_too() -> None:
    peer = Script(syn_sent(keepalive=AFTER))
    assert peer.conn.keepalive_at < 0
    peer.sends_syn(seq=999, flags=SYN | ACK, ack=5000)
    assert peer.conn.keepalive_at == peer.now + idle_time(peer.conn)


@pytest.mark.parametrize("build", SYNCHRONIZED.values(), ids=SYNCHRONIZED)
def test_switched_off_nothing_is_watched(build: Callable[..., Connection]) -> None:
    """MUST-24, MUST-27."""
    assert build(keepalive=0).keepalive_at < 0


def test_flows_that_began_together_are_not_probed_together() -> None:
    times = {Script(established(keepalive=AFTER, snd_nxt=5000 + n)).deadline for n in range(256)}
    assert len(times) > 200
    assert max(times) - min(times) > 0.9 * (AFTER >> SPREAD_SHIFT)  # type: ignore[type-var,operator]


def test_probes_take_no_longer_than_retransmissions() -> None:
    """A client whose device is away is not lost sooner because it had nothing to say."""
    under_way = sum(min(RTO_MIN << n, MINUTE) for n in range(R2 + 1))
    assert abs(PROBES * EVERY - under_way) < MINUTE


def test_settings_watch_unless_told_otherwise() -> None:
    assert Settings(1500).keepalive == KEEPALIVE


# the peer's keepalives


@pytest.mark.parametrize("build", SYNCHRONIZED.values(), ids=SYNCHRONIZED)
@pytest.mark.parametrize("garbage", [b"", b"\0"])
def test_peers_keepalive_is_answered(build: Callable[..., Connection], garbage: bytes) -> None:
    """RFC 9293 §3.8.4: with an old number, with an octet of garbage from old systems."""
    peer = Script(build())
    state, rcv_nxt = peer.conn.state, peer.conn.rcv_nxt
    peer.sends(seq=rcv_nxt - 1, payload=garbage, ack=peer.conn.snd_una)
    peer.expects(seq=peer.conn.snd_nxt, ack=rcv_nxt, flags=ACK, payload=b"")
    peer.expects_state(state).expects_nothing_more()
    assert peer.delivered == b""
