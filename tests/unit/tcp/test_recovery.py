"""Loss: what acknowledgments tell of it and what is sent again (RFC 5681, 6582, 6675, 6298, 2018)."""

import pytest

from tests.unit.tcp.builders import Script, established
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.rtt import RTO_MIN
from tunproxy.wire.tcp import ACK, FIN

MSS = 1000


def sending(segments: int, *, sack: bool = True, cwnd: int = 1 << 30, tso: bool = False) -> Script:
    """Return a peer to whom this many segments are under way, numbers 0, 1000, 2000…"""
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS, sack=sack, cwnd=cwnd, tso=tso))
    peer.at(0).queues(bytes(segments * MSS))
    peer.sent()
    return peer


def state(peer: Script) -> Recovery:
    assert peer.conn.recovery is not None
    return peer.conn.recovery


def again(peer: Script) -> list[tuple[int, int]]:
    """Return (seq, length) of what was sent since the last look."""
    return [(sent.seq, sent.length) for sent in peer.sent()]


def times_out(peer: Script) -> None:
    """Go on in silence to the next time-out; what was sent before it is not looked at."""
    before = peer.conn.timeouts
    while peer.conn.timeouts == before:
        peer.sent()
        peer.waits()


# fast retransmit


def test_three_duplicates_send_the_first_segment_again() -> None:
    """RFC 5681 §3.2."""
    peer = sending(10, sack=False)
    peer.sends(ack=0).sends(ack=0)
    assert again(peer) == []
    peer.sends(ack=0)
    assert again(peer) == [(0, MSS)]
    assert peer.conn.in_recovery


@pytest.mark.parametrize(
    "different",
    [{"payload": b"data"}, {"wnd": 1234}, {"flags": ACK | FIN}],
    ids=["data", "window", "fin"],
)
def test_what_is_no_duplicate_does_not_count(different: dict[str, object]) -> None:
    """RFC 5681 §2: same window, no data, no FIN."""
    peer = sending(10, sack=False)
    peer.sends(ack=0).sends(ack=0)
    peer.sends(ack=0, **different)  # type: ignore[arg-type]
    assert state(peer).dupacks == 2
    assert not peer.conn.in_recovery


def test_duplicates_with_nothing_under_way_do_not_count() -> None:
    peer = Script(established(sack=False))
    for _ in range(5):
        peer.sends()
    assert peer.conn.recovery is None
    peer.expects_nothing_more()


def test_duplicates_without_news_do_not_count_where_sack_is_spoken() -> None:
    """RFC 6675 §2: they answer duplicates of ours, or forgeries."""
    peer = sending(10, sack=True)
    for _ in range(5):
        peer.sends(ack=0)
    assert again(peer) == []
    for _ in range(5):
        peer.sends(ack=0, blocks=[(5000, 6000)])
    assert again(peer) == []


def test_two_segments_above_prove_nothing_yet() -> None:
    peer = sending(10)
    peer.sends(ack=0, blocks=[(1000, 2000)]).sends(ack=0, blocks=[(1000, 3000)])
    assert again(peer) == []
    peer.sends(ack=0, blocks=[(1000, 4000)])
    assert again(peer) == [(0, MSS)]


def test_one_acknowledgment_that_proves_the_gap_is_enough() -> None:
    """RFC 6675 §5 (2): IsLost (HighACK + 1), as behind a peer that merges acknowledgments."""
    peer = sending(10)
    peer.sends(ack=0, blocks=[(1000, 10_000)])
    assert again(peer) == [(0, MSS)]


def test_acknowledgment_that_moves_on_and_proves_a_gap_is_enough() -> None:
    """The last word of a peer that merges: nothing more will come but our time-out."""
    peer = sending(10)
    peer.sends(ack=2000, blocks=[(3000, 10_000)])
    assert again(peer) == [(2000, MSS)]


def test_only_the_holes_are_sent_again() -> None:
    peer = sending(12)
    peer.sends(ack=0, blocks=[(2000, 3000)])
    peer.sends(ack=0, blocks=[(4000, 6000), (2000, 3000)])
    peer.sends(ack=0, blocks=[(7000, 12_000), (4000, 6000), (2000, 3000)])
    found = again(peer)
    assert [seq for seq, _ in found] == sorted(seq for seq, _ in found)
    sent = {octet for seq, length in found for octet in range(seq, seq + length)}
    assert sent == {*range(0, 2000), *range(3000, 4000), *range(6000, 7000)}


def test_hole_is_sent_again_as_a_super_packet() -> None:
    peer = sending(40, tso=True)
    peer.sends(ack=0, blocks=[(20_000, 40_000)])
    found = peer.sent()
    assert [(one.seq, one.length, one.gso_size) for one in found] == [(0, 20_000, MSS)]


def test_holes_wait_for_the_congestion_window() -> None:
    """RFC 6675 §5 (C): cwnd - pipe >= 1 SMSS."""
    peer = sending(20, cwnd=20_000)
    peer.sends(ack=0, blocks=[(6000, 9000)])
    # 11,000 above the last block are under way, cwnd is 0.7 of 20,000
    assert again(peer) == [(0, MSS), (1000, MSS), (2000, MSS)]
    peer.sends(ack=0, blocks=[(6000, 10_000)])
    assert again(peer) == [(3000, MSS)]


def test_loss_reduces_once_per_window() -> None:
    """RFC 6675 §5 (4.2): once until RecoveryPoint."""
    peer = sending(20, cwnd=20_000)
    peer.sends(ack=0, blocks=[(1000, 5000)])
    assert peer.conn.congestion.cwnd == 14_000
    peer.sends(ack=5000, blocks=[(6000, 12_000)])
    assert peer.conn.congestion.cwnd == 14_000
    assert again(peer)[:2] == [(0, MSS), (5000, MSS)]
    peer.sends(ack=20_000)
    assert not peer.conn.in_recovery


def test_new_data_flows_during_recovery() -> None:
    """RFC 6675 §5 (C), NextSeg (2)."""
    peer = sending(10, cwnd=10_000)
    peer.queues(bytes(10 * MSS))
    peer.sends(ack=0, blocks=[(1000, 7000)])
    # 3,000 under way, cwnd is 7,000
    assert again(peer) == [(0, MSS), (10_000, MSS), (11_000, MSS), (12_000, MSS)]


def test_lost_data_goes_before_new_data() -> None:
    peer = sending(10, cwnd=10_000)
    peer.queues(bytes(10 * MSS))
    peer.sends(ack=0, blocks=[(6000, 9000)])
    assert [seq for seq, _ in again(peer)] == [0, 1000, 2000, 3000], "1,000 under way of 5,000"
    assert peer.conn.snd_nxt == 10_000


def test_fin_that_was_lost_is_sent_again_with_the_data_before_it() -> None:
    peer = Script(established(rcv_nxt=1, snd_nxt=0, mss=MSS, sack=True))
    peer.queues(bytes(5000)).closes()
    peer.sent()
    times_out(peer)
    peer.sent()
    peer.sends(ack=4000)
    peer.expects(seq=4000, payload=bytes(1000))
    peer.expects(seq=5000, payload=b"", flags=ACK | FIN)


def test_hole_near_the_end_is_sent_again_without_proof_where_there_is_room() -> None:
    """RFC 6675 §4, NextSeg (3): too little follows to prove it, and a time-out would be the only way."""
    peer = sending(20)
    peer.sends(ack=0, blocks=[(1000, 17_000)])
    assert again(peer) == [(0, MSS)]
    peer.sends(ack=17_000, blocks=[(19_000, 19_500)])
    assert again(peer) == [(17_000, MSS)]
    peer.sends(ack=17_000, blocks=[(19_000, 20_000)])
    assert again(peer) == [(18_000, MSS)]
    peer.sends(ack=17_000, blocks=[(18_000, 20_000)])
    assert again(peer) == []


def test_hole_near_the_end_waits_for_new_data_to_go_first() -> None:
    """RFC 6675 §4, NextSeg (2) comes before (3)."""
    peer = sending(10, cwnd=10_000)
    peer.queues(bytes(10 * MSS))
    peer.sends(ack=0, blocks=[(1000, 7000), (8000, 9000)])
    assert [seq for seq, _ in again(peer)] == [0, 10_000, 11_000, 12_000, 13_000]


# without SACK (RFC 6582)


def test_partial_acknowledgment_sends_the_next_segment_again() -> None:
    peer = sending(10, sack=False)
    for _ in range(3):
        peer.sends(ack=0)
    assert again(peer) == [(0, MSS)]
    peer.sends(ack=4000)
    assert again(peer) == [(4000, MSS)]
    peer.sends(ack=7000)
    assert again(peer) == [(7000, MSS)]
    assert peer.conn.in_recovery
    peer.sends(ack=10_000)
    assert again(peer) == []
    assert not peer.conn.in_recovery


def test_each_further_duplicate_lets_a_new_segment_out() -> None:
    """RFC 5681 §3.2 (4): what left the network makes room."""
    peer = sending(10, sack=False, cwnd=10_000)
    peer.queues(bytes(10 * MSS))
    for _ in range(3):
        peer.sends(ack=0)
    assert again(peer) == [(10_000, MSS), (11_000, MSS), (0, MSS)], "the first two by RFC 3042"
    assert peer.conn.congestion.cwnd == 7_000, "0.7 of 10,000: what RFC 3042 let out does not count"
    for _ in range(3):
        peer.sends(ack=0)
    assert again(peer) == [(12_000, MSS)], "cwnd 7,000, 12,000 under way less six that arrived"
    peer.sends(ack=0)
    assert again(peer) == [(13_000, MSS)]


# time-outs


def test_timeout_sends_one_segment_and_goes_on_with_each_acknowledgment() -> None:
    """RFC 5681 §3.1: from one segment, in slow start."""
    peer = sending(10, sack=False)
    assert peer.waits() == RTO_MIN
    assert again(peer) == [(0, MSS)]
    peer.sends(ack=1000)
    assert again(peer) == [(1000, MSS), (2000, MSS)]
    peer.sends(ack=2000)
    assert again(peer) == [(3000, MSS), (4000, MSS)]
    peer.sends(ack=5000)
    assert [seq for seq, _ in again(peer)] == [5000, 6000, 7000, 8000, 9000]


def test_timeout_repeats_nothing_that_the_peer_turns_out_to_have() -> None:
    peer = sending(10, sack=False)
    peer.waits()
    peer.sent()
    peer.sends(ack=9000)
    assert again(peer) == [(9000, MSS)]


def test_timeout_repeats_the_holes_only() -> None:
    """RFC 6675 §5.1: the scoreboard is kept at first."""
    peer = sending(10)
    peer.sends(ack=0, blocks=[(3000, 4000)]).sends(ack=0, blocks=[(3000, 5000)])
    times_out(peer)
    assert again(peer) == [(0, MSS)]
    peer.sends(ack=2000, blocks=[(3000, 5000)])
    assert [seq for seq, _ in again(peer)] == [2000, 5000, 6000]


def test_peer_that_reneges_gets_everything_again() -> None:
    """RFC 2018 §8: what was reported may be gone."""
    peer = sending(6)
    peer.sends(ack=0, blocks=[(1000, 2000)]).sends(ack=0, blocks=[(1000, 3000)])
    times_out(peer)
    assert again(peer) == [(0, MSS)]
    peer.sends(ack=1000)  # it had 1000…3000, and has dropped it
    peer.sent()
    for _ in range(20):
        if peer.conn.snd_una == 6000:
            break
        peer.waits()
        for seq, length in again(peer):
            if seq == peer.conn.snd_una:
                peer.sends(ack=seq + length)
    assert peer.conn.snd_una == 6000


def test_peer_that_reneged_is_found_out_by_the_next_timeout() -> None:
    """What follows snd_una at once cannot have been reported by a peer that still has it."""
    peer = sending(6)
    peer.sends(ack=0, blocks=[(1000, 2000)])
    peer.sends(ack=1000)
    peer.sent()
    times_out(peer)
    assert again(peer) == [(1000, MSS)]


def test_peer_that_may_have_reneged_gets_everything_again_after_a_second_timeout() -> None:
    """RFC 2018 §8: the holes alone did not move it."""
    peer = sending(6)
    peer.sends(ack=0, blocks=[(1000, 2000)])
    times_out(peer)
    assert again(peer) == [(0, MSS)]
    times_out(peer)
    assert again(peer) == [(0, MSS)]
    assert state(peer).scoreboard.is_empty
    peer.sends(ack=1000)
    assert again(peer) == [(1000, MSS), (2000, MSS)]


def test_timeout_in_recovery_halves_again_and_starts_over() -> None:
    peer = sending(20, cwnd=20_000)
    peer.sends(ack=0, blocks=[(1000, 5000)])
    peer.sent()
    times_out(peer)
    assert again(peer) == [(0, MSS)]
    assert peer.conn.congestion.cwnd == MSS


def test_round_trip_is_not_measured_by_what_was_sent_twice() -> None:
    """RFC 6298 §3."""
    peer = sending(10)
    peer.sends(ack=0, blocks=[(1000, 10_000)])
    srtt = peer.conn.rtt.srtt
    peer.at(5_000_000).sends(ack=10_000)
    assert peer.conn.rtt.srtt == srtt


# SACK blocks that lie


@pytest.mark.parametrize(
    "block",
    [
        (2000, 1000),  # backwards
        (1000, 1000),  # empty
        (0, 1000),  # not beyond a gap
        (2**32 - 500, 500),  # D-SACK: acknowledged long ago
        (9000, 10_001),  # never sent
        (2**31, 2**31 + 1000),
        (12_000, 2**31 + 11_000),  # so long that it seems to end before what was sent
    ],
)
def test_block_that_makes_no_sense_is_ignored(block: tuple[int, int]) -> None:
    peer = sending(10)
    for _ in range(5):
        peer.sends(ack=0, blocks=[block])
    assert again(peer) == []
    assert peer.conn.recovery is None or peer.conn.recovery.scoreboard.is_empty


def test_blocks_without_permission_are_ignored() -> None:
    peer = sending(10, sack=False)
    peer.sends(ack=0, blocks=[(1000, 10_000)])
    assert state(peer).scoreboard.is_empty


def test_blocks_across_the_wrap() -> None:
    peer = Script(established(rcv_nxt=1, snd_nxt=2**32 - 2000, mss=MSS, sack=True))
    peer.queues(bytes(8000))
    peer.sent()
    peer.sends(ack=2**32 - 2000, blocks=[(2**32 - 1000, 3000)])
    assert again(peer) == [(2**32 - 2000, MSS)]
    peer.sends(ack=3000, blocks=[(4000, 6000)])
    peer.sends(ack=6000)
    assert peer.conn.snd_una == 6000
    assert not peer.conn.in_recovery


# what is found without a time-out (RFC 8985)


def test_retransmission_that_is_lost_again_is_found_by_what_was_sent_after_it() -> None:
    """RFC 8985 §3.2: the first copy of 0…1000 is lost, and so is the second."""
    peer = sending(10, cwnd=10_000)
    peer.queues(bytes(10 * MSS))
    peer.at(10_000).sends(ack=0, blocks=[(1000, 7000)])
    assert again(peer)[:2] == [(0, MSS), (10_000, MSS)]
    peer.at(20_000).sends(ack=0, blocks=[(10_000, 11_000), (1000, 10_000)])
    peer.sent()
    peer.waits()
    assert peer.now < 10_000_000 + 21_000, "in less than a time-out"
    assert (0, MSS) in again(peer)
    assert peer.conn.timeouts == 0


def test_lost_retransmission_reduces_the_window_once_more() -> None:
    """RFC 5681 §4.3."""
    peer = sending(20, cwnd=20_000)
    peer.queues(bytes(20 * MSS))
    peer.at(10_000).sends(ack=0, blocks=[(1000, 12_000)])
    assert peer.conn.congestion.cwnd == 14_000
    peer.at(20_000).sends(ack=0, blocks=[(1000, 21_000)])
    peer.waits()
    assert peer.conn.congestion.cwnd == 9_800


def test_gap_below_a_single_segment_is_lost_when_it_is_late() -> None:
    """RFC 8985 §6.2: time takes the place of three duplicates."""
    peer = sending(3)
    peer.at(10_000).sends(ack=0, blocks=[(1000, 2000)])
    assert again(peer) == []
    assert peer.waits() == 10_000 + 10_000 // 4, "a quarter of the least round trip"
    assert again(peer) == [(0, MSS)]


def test_gap_that_is_filled_in_time_is_no_loss() -> None:
    peer = sending(3)
    peer.at(10_000).sends(ack=0, blocks=[(1000, 2000)])
    peer.at(11_000).sends(ack=2000)
    assert again(peer) == []
    assert state(peer).rack.reordering_seen
    assert peer.conn.reorder_at < 0
    assert not peer.conn.in_recovery


def test_reordering_once_seen_ends_the_rule_of_three_duplicates() -> None:
    """RFC 8985 §6.2 step 4: from then on the clock decides alone."""
    peer = sending(10)
    peer.at(10_000).sends(ack=0, blocks=[(1000, 2000)])
    peer.at(10_100).sends(ack=2000)
    peer.sends(ack=2000, blocks=[(3000, 10_000)])
    assert again(peer) == []
    peer.waits()
    assert again(peer) == [(2000, MSS)]


def test_reduction_for_what_turns_out_to_have_arrived_is_taken_back() -> None:
    """RFC 3708 §3: every retransmission was reported to be a duplicate."""
    peer = sending(20, cwnd=20_000)
    peer.at(10_000).sends(ack=0, blocks=[(1000, 5000)])
    assert again(peer) == [(0, MSS)]
    assert peer.conn.congestion.cwnd == 14_000
    peer.at(10_100).sends(ack=5000)
    peer.at(20_000).sends(ack=5000, blocks=[(0, 1000)])
    assert state(peer).dsacks == 1
    assert peer.conn.congestion.cwnd >= 20_000


def test_reduction_stays_where_one_of_two_was_needed() -> None:
    peer = sending(20, cwnd=20_000)
    peer.at(10_000).sends(ack=0, blocks=[(2000, 6000)])
    peer.at(11_000).sends(ack=0, blocks=[(2000, 8000)])
    assert {seq for seq, _ in again(peer)} == {0, 1000}
    peer.at(20_000).sends(ack=8000, blocks=[(0, 1000)])
    assert peer.conn.congestion.cwnd == 14_000


def test_window_is_reduced_step_by_step() -> None:
    """RFC 6937 §3: of ten segments that arrive, seven go out."""
    peer = sending(20, cwnd=20_000)
    peer.queues(bytes(20 * MSS))
    peer.at(10_000).sends(ack=0, blocks=[(1000, 5000)])
    assert again(peer) == [(0, MSS), (20_000, MSS)]
    peer.sends(ack=0, blocks=[(1000, 7000)])
    assert again(peer) == [(21_000, MSS), (22_000, MSS)]
    peer.sends(ack=0, blocks=[(1000, 8000)])
    assert again(peer) == []
    peer.sends(ack=0, blocks=[(1000, 9000)])
    assert again(peer) == [(23_000, MSS)]
