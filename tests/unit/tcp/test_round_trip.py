"""Round trips are measured by what acknowledgments echo (RFC 7323 §4), or by Karn's rule (RFC 6298 §3)."""

import pytest

from tests.unit.tcp.builders import START, Script, established, syn_received
from tunproxy.tcp.rtt import RTO_AFTER_SYN

MSS = 988  # of a thousand, with timestamps


def sending(batches: int = 1, *, ts: bool = True, sack: bool = True) -> Script:
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS + 12, sack=sack, ts=ts))
    for number in range(batches):
        peer.at(number * 1000).queues(bytes(MSS))
    return peer


def echo(peer: Script, at: int) -> tuple[int, int]:
    """Return the timestamps of a segment that echoes what we sent at this time."""
    return peer.ts_val, (START + at) // 1000


def stamped(peer: Script, ack: int, at: int) -> None:
    peer.sends(ack=ack, ts=echo(peer, at))


def test_every_acknowledgment_of_new_data_measures() -> None:
    """RFC 7323 §4.1; without timestamps it is one a round trip."""
    peer = sending(4)
    srtt = [peer.conn.rtt.srtt]
    for number in range(1, 5):
        peer.at(40_000 + 5000 * number)
        stamped(peer, number * MSS, (number - 1) * 1000)
        srtt.append(peer.conn.rtt.srtt)
    assert srtt == sorted(set(srtt))


def test_measurement_is_in_microseconds_where_the_echo_agrees() -> None:
    """The peer is nearer than a tick."""
    peer = Script(established(rcv_nxt=1, snd_nxt=0, sack=True, ts=True))
    for number in range(200):
        peer.at(number * 300).queues(b"x")
        peer.at(number * 300 + 70)
        stamped(peer, number + 1, number * 300)
    assert peer.conn.rtt.srtt == pytest.approx(70, abs=2)


def test_retransmission_is_measured_by_what_the_echo_says() -> None:
    """RFC 7323 §4: the ambiguity of Karn's rule is gone."""
    peer = sending()
    before = peer.conn.rtt.srtt
    peer.at(500_000).wakes()
    peer.at(800_000).wakes()
    peer.at(801_000)
    stamped(peer, MSS, 0)
    assert peer.conn.rtt.srtt == before + (801_000 - before) // 8


def test_retransmission_measured_ends_the_back_off() -> None:
    peer = sending()
    for _ in range(6):
        at = peer.waits()
    assert peer.conn.rtt.rto > 1_000_000
    peer.at(at + 10_000)
    stamped(peer, MSS, at)
    assert peer.conn.rtt.rto < 300_000


def test_duplicate_acknowledgment_measures_nothing() -> None:
    """RFC 7323 §4.1: only what advances the left edge."""
    peer = sending(5)
    before = (peer.conn.rtt.srtt, peer.conn.rtt.rttvar)
    peer.at(90_000).sends(ack=0, ts=echo(peer, 0), blocks=[(MSS, 2 * MSS)])
    assert (peer.conn.rtt.srtt, peer.conn.rtt.rttvar) == before


@pytest.mark.parametrize("ecr", [0, START // 1000 + 500, (START // 1000 - 100_000) % 2**32])
def test_echo_of_nothing_that_we_sent_is_not_believed(ecr: int) -> None:
    peer = sending()
    peer.at(20_000).sends(ack=MSS, ts=(peer.ts_val, ecr))
    assert 10_000 <= peer.conn.rtt.srtt <= 20_000, "timed by our own clock"


def test_many_measurements_in_a_round_trip_count_as_one() -> None:
    """RFC 7323 appendix G: the memory is as long as with one a round trip."""
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS + 12, sack=True, ts=True, shift=7))
    peer.at(0).sends(wnd=0xFFFF).queues(bytes(100 * MSS))
    before = peer.conn.rtt.srtt
    peer.at(90_000)
    for number in range(2, 102, 2):
        stamped(peer, number * MSS, 0)
    one = before + (90_000 - before) // 8
    assert one < peer.conn.rtt.srtt < before + (90_000 - before) // 2
    peer.at(200_000)


def test_without_timestamps_one_segment_is_timed() -> None:
    peer = sending(4, ts=False)
    peer.at(41_000).sends(ack=MSS)
    first = peer.conn.rtt.srtt
    peer.at(70_000).sends(ack=2 * MSS)
    assert peer.conn.rtt.srtt == first


@pytest.mark.parametrize("ts", [False, True])
def test_syn_sent_again_is_no_measurement_and_leaves_three_seconds(ts: bool) -> None:
    """RFC 6298 §3, §5.7: with timestamps too, because the echo may be that of the first SYN."""
    peer = Script(syn_received(ts=ts))
    peer.waits()
    peer.sends(ts=echo(peer, -10_000) if ts else False)
    assert peer.conn.rtt.srtt < 0
    assert peer.conn.rtt.rto == RTO_AFTER_SYN == 3_000_000
