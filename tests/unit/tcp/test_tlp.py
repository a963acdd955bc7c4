"""The tail loss probe: a lost end of a burst waits for no time-out (RFC 8985 §7)."""

from tests.unit.tcp.builders import RTT, Script, established
from tunproxy.tcp.connection import TIMED_OUT
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.rtt import RTO_MIN
from tunproxy.tcp.state import CLOSED
from tunproxy.tcp.tlp import ACK_DELAY, MAX_PROBES, PTO_MIN
from tunproxy.wire.tcp import ACK, FIN

MSS = 1000


def sending(segments: int, *, sack: bool = True, cwnd: int = 1 << 30) -> Script:
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS, sack=sack, cwnd=cwnd))
    peer.at(0).queues(bytes(segments * MSS))
    peer.sent()
    return peer


def state(peer: Script) -> Recovery:
    assert peer.conn.recovery is not None
    return peer.conn.recovery


def again(peer: Script) -> list[tuple[int, int]]:
    return [(sent.seq, sent.length) for sent in peer.sent()]


def test_last_segment_is_sent_again_after_two_round_trips() -> None:
    """§7.2, §7.3."""
    peer = sending(5)
    assert peer.waits() == 2 * RTT
    assert again(peer) == [(4000, MSS)]
    assert peer.conn.timeouts == 0


def test_single_segment_waits_for_the_acknowledgment_that_the_peer_delays() -> None:
    """§7.2."""
    peer = sending(1)
    assert peer.waits() == 2 * RTT + ACK_DELAY
    assert again(peer) == [(0, MSS)]


def test_new_data_is_the_better_probe() -> None:
    """§7.3: whatever the congestion window says."""
    peer = sending(5, cwnd=5000)
    peer.queues(bytes(1500))
    assert again(peer) == []
    peer.waits()
    assert again(peer) == [(5000, MSS)]
    peer.at(30_000).sends(ack=6000)
    assert not state(peer).tlp_is_again
    assert state(peer).tlp_end < 0


def test_probe_shows_what_was_lost() -> None:
    peer = sending(5)
    sent = peer.waits()
    peer.sent()
    peer.at(sent + RTT).sends(ack=3000, blocks=[(4000, 5000)])
    assert again(peer) == [(3000, MSS)]
    assert peer.now - 10_000_000 < RTO_MIN


def test_fin_is_probed_with_the_data_before_it() -> None:
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS, sack=True))
    peer.conn.buffer.append(bytes(1500))
    peer.at(0).closes()
    peer.sent()
    peer.waits()
    peer.expects(seq=501, payload=bytes(999), flags=ACK | FIN)


def test_probe_that_made_up_for_a_loss_reduces_the_window() -> None:
    """§7.4.2: congestion is not to be hidden."""
    peer = sending(10, cwnd=20_000)
    sent = peer.waits()
    peer.sent()
    peer.at(sent + RTT).sends(ack=10_000)
    peer.queues(bytes(10 * MSS))
    before = peer.conn.congestion.cwnd
    peer.at(sent + 2 * RTT).sends(ack=20_000)
    assert peer.conn.congestion.cwnd < before


def test_probe_that_arrived_twice_reduces_nothing() -> None:
    """§7.4.2: a D-SACK names it."""
    peer = sending(10, cwnd=20_000)
    sent = peer.waits()
    peer.sent()
    peer.at(sent + RTT).sends(ack=10_000, blocks=[(9000, 10_000)])
    assert state(peer).tlp_end < 0
    peer.queues(bytes(10 * MSS))
    before = peer.conn.congestion.cwnd
    peer.at(sent + 2 * RTT).sends(ack=20_000)
    assert peer.conn.congestion.cwnd >= before


def test_probes_are_few_and_then_the_timeout_decides() -> None:
    peer = sending(5)
    times = [peer.waits() for _ in range(MAX_PROBES)]
    assert [b - a for a, b in zip([0, *times], times, strict=False)] == [2 * RTT, 4 * RTT, 8 * RTT]
    assert peer.conn.timeouts == 0
    peer.waits()
    assert peer.conn.timeouts == 1
    assert peer.conn.probe_at < 0


def test_lost_retransmission_at_the_end_of_everything_is_probed() -> None:
    """Nothing is sent after it that could prove its loss."""
    peer = sending(5)
    peer.at(10_000).sends(ack=0, blocks=[(1000, 5000)])
    assert again(peer) == [(0, MSS)]
    at = peer.waits()
    assert at <= 10_000 + 2 * peer.conn.rtt.srtt
    assert again(peer) == [(0, MSS)]
    peer.at(at + RTT).sends(ack=5000)
    assert peer.deadline is None


def test_peer_without_sack_is_not_probed() -> None:
    """§7.2: the connection supports SACK."""
    peer = sending(5, sack=False)
    assert peer.waits() == RTO_MIN


def test_everything_acknowledged_needs_no_probe() -> None:
    peer = sending(5)
    peer.at(RTT).sends()
    assert peer.deadline is None


def test_probe_comes_not_too_early_on_a_short_path() -> None:
    peer = sending(2)
    for number in range(30):
        peer.at(number).sends().queues(bytes(2 * MSS))
    peer.sent()
    assert peer.conn.rtt.srtt < PTO_MIN // 2
    assert peer.deadline == 29 + PTO_MIN


def test_silence_after_probes_ends_the_connection_as_ever() -> None:
    peer = sending(5)
    while peer.conn.state != CLOSED:
        peer.waits()
    assert peer.conn.closed_why == TIMED_OUT
