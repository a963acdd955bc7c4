"""ECN by RFC 3168: who agrees to it, what is marked, what is echoed, and what the window makes of it."""

import pytest

from tests.unit.tcp.builders import START, Script, established, fin_wait_1, syn_sent, unanswered
from tunproxy.tcp.connection import DELAYED_ACK, ECN_OFFERED, Connection
from tunproxy.tcp.keepalive import EVERY
from tunproxy.tcp.rtt import RTO_MIN
from tunproxy.tcp.state import ESTABLISHED
from tunproxy.wire.ip import CE, ECT_0, NOT_ECT
from tunproxy.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN

ECT_1 = 1
OFFER = SYN | ECE | CWR
BIG_WND = 40_000

both_families = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def agreed(**how: object) -> Connection:
    """Return an established connection with ECN."""
    conn = established(syn_flags=OFFER, **how)
    assert conn.ecn_on
    assert conn.ecn_sends
    return conn


def sender(*, segments: int = 10, **how: object) -> Script:
    """Return the peer of a connection that has this many segments of 1000 octets under way, from 5000 on."""
    peer = Script(agreed(rcv_nxt=1000, snd_nxt=5000, mss=1000, wnd=BIG_WND, cwnd=1000 * segments, **how))
    peer.wnd = BIG_WND
    peer.queues(bytes(1000 * segments))
    assert len(peer.sent()) == segments
    return peer


# §6.1.1: the handshake


@pytest.mark.parametrize("bits", [0, ECE, CWR])
def test_syn_that_does_not_offer_ecn_gets_none(bits: int) -> None:
    """A SYN with one of the two is no offer."""
    peer = Script(unanswered(syn_flags=SYN | bits))
    peer.accepts()
    peer.expects(flags=SYN | ACK)
    peer.sends().queues(b"x")
    peer.expects(flags=ACK | PSH, ecn=NOT_ECT)


def test_answer_that_is_sent_again_agrees_again() -> None:
    peer = Script(unanswered(syn_flags=OFFER, rcv_nxt=1000))
    peer.accepts().expects(flags=SYN | ACK | ECE)
    peer.sends_syn(seq=999, flags=OFFER).expects(flags=SYN | ACK | ECE)
    peer.waits()
    peer.expects(flags=SYN | ACK | ECE, ecn=NOT_ECT)


def test_offer_taken_back_before_the_answer_was_never_made() -> None:
    conn = unanswered(syn_flags=OFFER, rcv_nxt=1000)
    peer = Script(conn)
    peer.sends_syn(seq=999).accepts()
    peer.expects(flags=SYN | ACK)
    assert not conn.ecn_on


def test_offer_repeated_before_the_answer_stands() -> None:
    peer = Script(unanswered(syn_flags=OFFER, rcv_nxt=1000))
    peer.sends_syn(seq=999, flags=OFFER).accepts()
    peer.expects(flags=SYN | ACK | ECE)


def test_syn_of_somebody_else_takes_no_offer_back() -> None:
    peer = Script(unanswered(syn_flags=OFFER, rcv_nxt=1000))
    peer.sends_syn(seq=998).accepts()
    peer.expects(flags=SYN | ACK | ECE)


def test_offer_taken_back_after_the_answer_leaves_the_echo() -> None:
    """Our data is not ECN-capable then; but we have said yes, and a peer that heard it may rely on it."""
    peer = Script(unanswered(syn_flags=OFFER, rcv_nxt=1000))
    peer.accepts().expects(flags=SYN | ACK | ECE)
    peer.sends_syn(seq=999).expects(flags=SYN | ACK)
    peer.sends_syn(seq=999, flags=OFFER).expects(flags=SYN | ACK)
    peer.sends().queues(b"x")
    peer.expects(flags=ACK | PSH, ecn=NOT_ECT)
    peer.sends(payload=b"y", ecn=CE).expects(flags=ACK | ECE)


def test_opening_by_ourselves_offers_it_where_settings_say_so() -> None:
    peer = Script(syn_sent(ecn=ECN_OFFERED))
    peer.sends_syn(seq=999, flags=SYN | ACK | ECE, ack=5000).expects_state(ESTABLISHED)
    peer.expects(flags=ACK, ecn=NOT_ECT)
    peer.queues(b"x").expects(ecn=ECT_0)


def test_opening_by_ourselves_does_not_offer_it_else() -> None:
    conn = syn_sent()
    assert not conn.ecn_sends
    Script(conn).sends_syn(seq=999, flags=SYN | ACK | ECE, ack=5000)
    assert not conn.ecn_sends


@pytest.mark.parametrize("flags", [SYN | ACK, SYN | ACK | CWR, SYN | ACK | ECE | CWR])
def test_answer_that_does_not_say_yes_says_no(flags: int) -> None:
    conn = syn_sent(ecn=ECN_OFFERED)
    Script(conn).sends_syn(seq=999, flags=flags, ack=5000)
    assert not conn.ecn_on
    assert not conn.ecn_sends


def test_answer_that_says_no_after_a_yes_leaves_the_echo() -> None:
    """Somebody on the way may have cleared the bits of the second one; the peer has heard our offer."""
    conn = syn_sent(ecn=ECN_OFFERED)
    peer = Script(conn)
    peer.sends_syn(seq=999, flags=SYN | ACK | ECE, ack=5000).sends_syn(seq=999, flags=SYN | ACK, ack=5000)
    assert conn.ecn_on
    assert not conn.ecn_sends
    peer.sent()
    peer.sends(payload=b"y", ecn=CE).expects(flags=ACK | ECE)


def test_syn_sent_again_does_not_offer_it() -> None:
    """§6.1.1.1: who drops SYNs with these bits gets one without. A late yes to the first still obliges us."""
    conn = syn_sent(ecn=ECN_OFFERED)
    peer = Script(conn)
    peer.waits()
    peer.expects(flags=SYN)
    peer.sends_syn(seq=999, flags=SYN | ACK | ECE, ack=5000)
    assert conn.ecn_on
    assert not conn.ecn_sends


# §6.1.2, §6.1.4 to §6.1.6: what is ECN-capable


@both_families
@pytest.mark.parametrize("ts", [False, True])
def test_new_data_is_ecn_capable(ipv6: bool, ts: bool) -> None:
    peer = Script(agreed(mss=1000, ipv6=ipv6, ts=ts))
    peer.queues(bytes(3000))
    assert [sent.ecn for sent in peer.sent()] == [ECT_0] * (4 if ts else 3)


@both_families
def test_super_packet_is_ecn_capable(ipv6: bool) -> None:
    peer = Script(agreed(mss=1000, ipv6=ipv6, tso=True))
    peer.queues(bytes(30_000))
    sent = peer.expects(ecn=ECT_0, gso_size=1000, flags=ACK | PSH)
    assert sent.length == 30_000


def test_bare_acknowledgments_ends_and_resets_are_not_ecn_capable() -> None:
    peer = Script(agreed())
    peer.sends(payload=bytes(3000)).expects(flags=ACK, ecn=NOT_ECT)
    peer.closes().expects(flags=ACK | PSH | FIN, ecn=NOT_ECT)
    peer.aborts().expects(flags=RST | ACK, ecn=NOT_ECT)


def test_end_with_data_is_ecn_capable() -> None:
    conn = unanswered(syn_flags=OFFER)
    peer = Script(conn)
    peer.accepts().queues(b"x").closes()
    peer.sent()
    peer.sends()
    peer.expects(flags=ACK | PSH | FIN, ecn=ECT_0)


@pytest.mark.parametrize("sack", [False, True])
def test_what_is_sent_again_is_not_ecn_capable(sack: bool) -> None:
    """§6.1.5: neither after a time-out nor in fast recovery nor as a probe."""
    peer = sender(sack=sack)
    peer.at(1_000_000).wakes()
    again = peer.sent()
    assert again
    assert all(sent.ecn == NOT_ECT and not sent.flags & CWR for sent in again)


def test_fast_retransmission_is_not_ecn_capable_and_new_data_beside_it_is() -> None:
    peer = sender(sack=True)
    peer.conn.buffer.append(bytes(4000))
    for n in range(3, 8):
        peer.sends(ack=5000, blocks=[(7000, 5000 + 1000 * n)])
    found = peer.sent()
    assert {sent.ecn for sent in found if sent.seq < 15_000} == {NOT_ECT}
    assert {sent.ecn for sent in found if sent.seq >= 15_000} == {ECT_0}


def test_window_probe_is_not_ecn_capable() -> None:
    """§6.1.6."""
    peer = Script(agreed())
    peer.sends(wnd=0).queues(b"data")
    peer.waits()
    peer.expects(seq=4999, payload=b"", ecn=NOT_ECT)


def test_keepalive_is_not_ecn_capable() -> None:
    peer = Script(agreed(keepalive=EVERY))
    peer.waits()
    while not peer.recorder.frames:
        peer.waits()
    peer.expects(payload=b"", ecn=NOT_ECT)


# §6.1.3: echo


@both_families
def test_mark_is_echoed_on_everything_until_cwr_comes(ipv6: bool) -> None:
    peer = Script(agreed(ipv6=ipv6, rcv_nxt=1000))
    peer.sends(payload=b"a", ecn=CE).expects(ack=1001, flags=ACK | ECE, ecn=NOT_ECT)
    peer.sends(payload=bytes(3000), ecn=ECT_0).expects(ack=4001, flags=ACK | ECE)
    peer.queues(b"down").expects(flags=ACK | PSH | ECE, ecn=ECT_0)
    peer.sends(seq=900, payload=b"old").expects(flags=ACK | ECE)
    peer.sends(payload=b"b", flags=ACK | CWR, ecn=ECT_0).expects(ack=4002, flags=ACK)
    peer.queues(b"more").expects(flags=ACK | PSH)


@pytest.mark.parametrize("field", [NOT_ECT, ECT_0, ECT_1])
def test_only_ce_is_a_mark(field: int) -> None:
    peer = Script(agreed())
    peer.sends(payload=bytes(3000), ecn=field).expects(flags=ACK)


def test_mark_is_echoed_at_once() -> None:
    """An acknowledgment that waits for company would let the sender go on meanwhile."""
    peer = Script(agreed())
    peer.sends(payload=b"a", ecn=ECT_0)
    assert peer.deadline == DELAYED_ACK
    peer.expects_nothing_more()
    peer.sends(payload=b"b", ecn=CE).expects(flags=ACK | ECE)


def test_further_marks_wait_as_data_does() -> None:
    peer = Script(agreed())
    peer.sends(payload=b"a", ecn=CE).expects(flags=ACK | ECE)
    peer.sends(payload=b"b", ecn=CE).expects_nothing_more()


def test_cwr_in_a_marked_segment_begins_the_echo_anew() -> None:
    peer = Script(agreed())
    peer.sends(payload=b"a", ecn=CE).expects(flags=ACK | ECE)
    peer.sends(payload=b"b", flags=ACK | CWR, ecn=CE).expects(flags=ACK | ECE)


def test_mark_after_cwr_is_echoed_again() -> None:
    peer = Script(agreed())
    peer.sends(payload=b"a", ecn=CE).expects(flags=ACK | ECE)
    peer.sends(payload=b"b", flags=ACK | CWR, ecn=ECT_0).expects(flags=ACK)
    peer.sends(payload=b"c", ecn=CE).expects(flags=ACK | ECE)


def test_mark_ahead_of_a_gap_is_echoed_with_the_sack_block() -> None:
    peer = Script(agreed(rcv_nxt=1000, sack=True))
    peer.sends(seq=2000, payload=b"ahead", ecn=CE).expects(ack=1000, flags=ACK | ECE, blocks=[(2000, 2005)])


def test_mark_on_a_super_packet_counts() -> None:
    peer = Script(agreed(rcv_nxt=1000))
    peer.sends(payload=bytes(30_000), ecn=CE).expects(ack=31_000, flags=ACK | ECE)


def test_mark_outside_the_window_is_ignored() -> None:
    """§6.1.5: what is sent again, or forged, is not taken for a mark."""
    peer = Script(agreed(rcv_nxt=1000))
    peer.sends(payload=b"abcd")
    peer.sends(seq=1000, payload=b"abcd", ecn=CE).expects(ack=1004, flags=ACK)
    peer.sends(seq=1000 + (1 << 24), payload=b"far", ecn=CE).expects(flags=ACK)


def test_mark_without_data_is_ignored() -> None:
    """§6.1.4: a bare acknowledgment is not ECN-capable, so nobody can have marked it."""
    peer = Script(agreed())
    peer.sends(ecn=CE).queues(b"x")
    peer.expects(flags=ACK | PSH)


def test_mark_is_echoed_after_our_end() -> None:
    peer = Script(fin_wait_1(syn_flags=OFFER))
    peer.sent()
    peer.sends(ack=5000, payload=b"late", ecn=CE).expects(flags=ACK | ECE)


# §6.1.2: the window


def test_echo_reduces_the_window_to_seven_tenths() -> None:
    """RFC 9438 §4.6: as a loss does."""
    peer = sender()
    peer.sends(ack=6000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == 7000
    assert peer.conn.congestion.ssthresh == 7000
    assert not peer.conn.in_recovery


def test_echo_of_an_unthrottled_connection_finds_its_window() -> None:
    peer = Script(agreed(mss=1000, wnd=BIG_WND))
    peer.wnd = BIG_WND
    peer.queues(bytes(20_000)).sends(ack=6000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == 14_000


def test_echoes_of_one_window_reduce_once() -> None:
    peer = sender()
    for n in range(1, 10):
        peer.sends(ack=5000 + 1000 * n, flags=ACK | ECE)
    peer.sends(ack=15_000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == 7000


def test_acknowledgment_with_an_echo_does_not_let_the_window_grow() -> None:
    """§6.1.2: while those without do, though the threshold is far."""
    peer = sender()
    peer.sends(ack=6000)
    assert peer.conn.congestion.cwnd == 11_000
    peer = sender()
    peer.sends(ack=6000, flags=ACK | ECE)
    grown = [peer.sends(ack=6000 + 500 * n, flags=ACK | ECE).conn.congestion.cwnd for n in range(1, 8)]
    assert grown == [7000] * 7


def test_echo_of_the_next_window_reduces_again() -> None:
    peer = sender()
    peer.sends(ack=6000, flags=ACK | ECE)
    peer.sends(ack=15_000, flags=ACK | ECE)
    peer.queues(bytes(7000))
    sent = peer.sent()
    assert [bool(each.flags & CWR) for each in sent] == [True] + [False] * 6
    peer.sends(ack=16_000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == 4900
    peer.queues(bytes(1000)).sends(ack=22_000)
    assert peer.expects(seq=22_000).flags & CWR


def test_echoes_reduce_the_window_to_one_segment() -> None:
    """RFC 9438 §4.6; while its threshold stays at two."""
    peer = sender(segments=2)
    peer.sends(ack=7000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == 1400
    assert peer.queues(bytes(1000)).conn.snd_nxt == 8000
    peer.sends(ack=8000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == 1000
    assert peer.conn.congestion.ssthresh == 2000
    peer.sent()
    peer.queues(b"x").expects(flags=ACK | PSH | CWR, ecn=ECT_0)


def single(**how: object) -> Script:
    """Return the peer of a connection whose window is one segment, which has just been acknowledged."""
    peer = sender(segments=1, **how)
    peer.sends(ack=6000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == 1000
    return peer


def test_at_one_segment_an_echo_has_the_clock_send_the_next() -> None:
    """§6.1.2: when the retransmission timer expires, once, and with CWR; not as a probe of the window."""
    peer = single()
    peer.queues(bytes(2500)).expects_nothing_more()
    assert peer.deadline == RTO_MIN
    peer.sends(payload=bytes(3000)).expects(flags=ACK, payload=b"")
    peer.expects_nothing_more()
    assert peer.waits() == RTO_MIN
    peer.expects(seq=6000, payload=bytes(1000), flags=ACK | CWR, ecn=ECT_0)
    peer.expects_nothing_more()


def test_at_one_segment_every_echo_waits_anew() -> None:
    peer = single()
    peer.queues(bytes(3000))
    for n in range(3):
        peer.waits()
        peer.expects(seq=6000 + 1000 * n, flags=ACK | CWR if n < 2 else ACK | PSH | CWR)
        peer.at(RTO_MIN * (n + 1) + 1000 * n + 1000).sends(ack=7000 + 1000 * n, flags=ACK | ECE)
        peer.expects_nothing_more()
    assert peer.conn.congestion.cwnd == 1000


def test_at_one_segment_an_acknowledgment_without_echo_goes_on() -> None:
    peer = single()
    peer.queues(bytes(5000))
    peer.waits()
    assert len(peer.sent()) == 1
    peer.sends(ack=7000)
    assert peer.conn.congestion.cwnd == 2000
    assert len(peer.sent()) == 2


def test_at_one_segment_what_was_lost_goes_again_at_once() -> None:
    """Only new data waits; without a probe of the tail, its time-out would come at the same time."""
    peer = sender(segments=1)
    peer.conn.buffer.append(bytes(1000))
    peer.conn.congestion.cwnd = 1999
    peer.conn.snd_wnd = BIG_WND
    peer.settles().sent()
    peer.conn.congestion.cwnd = 1000
    peer.sends(ack=5400, flags=ACK | ECE)
    assert peer.conn.resume_at == START + RTO_MIN
    assert peer.waits() == RTO_MIN
    again = peer.sent()
    assert again[0].seq == 5400
    assert again[0].ecn == NOT_ECT


def test_end_waits_as_data_does() -> None:
    peer = single()
    peer.queues(b"x").closes().expects_nothing_more()
    peer.waits()
    peer.expects(seq=6000, payload=b"x", flags=ACK | PSH | FIN | CWR)


@pytest.mark.parametrize("end", ["reset", "closes"])
def test_what_waits_for_the_clock_ends_with_the_connection(end: str) -> None:
    peer = single()
    peer.queues(b"x")
    if end == "reset":
        peer.sends(flags=RST)
    else:
        peer.aborts()
    assert peer.deadline is None


@pytest.mark.parametrize("flags", [ACK | ECE, ACK | ECE | PSH])
def test_echo_with_nothing_under_way_is_ignored(flags: int) -> None:
    peer = sender()
    peer.sends(ack=15_000)
    cwnd = peer.conn.congestion.cwnd
    peer.sends(payload=b"x" if flags & PSH else b"", flags=flags)
    assert peer.conn.congestion.cwnd == cwnd


def test_echo_in_an_old_acknowledgment_is_ignored() -> None:
    peer = sender()
    peer.sends(ack=9000)
    cwnd = peer.conn.congestion.cwnd
    peer.sends(ack=6000, flags=ACK | ECE)
    assert peer.conn.congestion.cwnd == cwnd


def test_echo_in_a_duplicate_acknowledgment_counts() -> None:
    peer = sender(sack=True)
    peer.sends(ack=5000, flags=ACK | ECE, blocks=[(6000, 7000)])
    assert peer.conn.congestion.cwnd == 7000


def test_echo_counts_after_gigabytes_without_one() -> None:
    """The mark of the last reduction must not seem ahead once numbers have gone half round."""
    peer = Script(agreed(rcv_nxt=1000, snd_nxt=5000, mss=1000, wnd=BIG_WND, cwnd=10_000))
    conn = peer.conn
    conn.reduced_at = (conn.snd_nxt + 2**31 + 100_000) % 2**32  # as it is after 2 GB
    peer.wnd = BIG_WND
    peer.queues(bytes(10_000)).sends(ack=6000, flags=ACK | ECE)
    assert conn.congestion.cwnd == 7000


def test_loss_in_a_window_reduced_for_an_echo_reduces_no_further() -> None:
    """§6.1.2: once for a series of dropped and marked packets of one window."""
    peer = sender(sack=True)
    peer.sends(ack=6000, flags=ACK | ECE)
    for n in range(3, 7):
        peer.sends(ack=6000, blocks=[(7000, 5000 + 1000 * n)])
    assert peer.conn.in_recovery
    assert peer.conn.congestion.ssthresh == 7000
    assert [sent.seq for sent in peer.sent()][:1] == [6000]


def test_needless_recovery_takes_back_no_reduction_for_an_echo() -> None:
    peer = sender(sack=True)
    peer.sends(ack=6000, flags=ACK | ECE)
    for n in range(3, 7):
        peer.sends(ack=6000, blocks=[(7000, 5000 + 1000 * n)])
    peer.sends(ack=15_000).sends(ack=15_000, blocks=[(6000, 7000)])
    assert peer.conn.congestion.ssthresh == 7000


def test_loss_gigabytes_after_an_echo_reduces_the_window() -> None:
    peer = sender(sack=True)
    peer.sends(ack=6000, flags=ACK | ECE)
    conn = peer.conn
    conn.reduced_at = (conn.snd_nxt + 2**31 - 100_000) % 2**32  # as it is after 2 GB
    for n in range(3, 7):
        peer.sends(ack=6000, blocks=[(7000, 5000 + 1000 * n)])
    assert conn.in_recovery
    assert conn.congestion.ssthresh == 6300


def test_loss_after_the_window_of_an_echo_reduces_again() -> None:
    peer = sender(sack=True)
    peer.sends(ack=6000, flags=ACK | ECE).sends(ack=15_000).queues(bytes(7000))
    for n in range(3, 7):
        peer.sends(ack=15_000, blocks=[(16_000, 15_000 + 1000 * n)])
    assert peer.conn.in_recovery
    assert peer.conn.congestion.ssthresh == 4900


@pytest.mark.parametrize("sack", [False, True])
def test_echo_in_a_window_that_had_a_loss_reduces_no_further(sack: bool) -> None:
    peer = sender(sack=sack)
    for n in range(3, 7):
        blocks = [(6000, 5000 + 1000 * n)] if sack else None
        peer.sends(ack=5000, blocks=blocks)
    assert peer.conn.in_recovery
    peer.sends(ack=5000, flags=ACK | ECE, blocks=[(6000, 12_000)] if sack else None)
    peer.sends(ack=15_000, flags=ACK | ECE)
    assert peer.conn.congestion.ssthresh == 7000


def test_echo_counts_again_where_a_reduction_was_taken_back() -> None:
    """RFC 3708 §3: nothing was lost, and so nothing was reduced."""
    peer = sender(sack=True)
    for n in range(3, 7):
        peer.sends(ack=5000, blocks=[(6000, 5000 + 1000 * n)])
    again = [sent for sent in peer.sent() if sent.seq == 5000]
    peer.sends(ack=11_000, blocks=[(5000, 5000 + again[0].length)])
    assert peer.conn.congestion.cwnd >= 10_000
    assert not peer.conn.cwr_due
    peer.sends(ack=12_000, flags=ACK | ECE)
    assert peer.conn.congestion.ssthresh < 7000


# §6.1.2: CWR


def test_reduction_is_told_once_with_the_next_new_data() -> None:
    peer = sender()
    peer.sends(ack=12_000, flags=ACK | ECE).queues(bytes(4000))
    first, *others = peer.sent()
    assert (first.seq, first.flags, first.ecn) == (15_000, ACK | CWR, ECT_0)
    assert others
    assert not any(sent.flags & CWR for sent in others)


def test_reduction_is_told_however_late_new_data_comes() -> None:
    peer = sender()
    peer.sends(ack=15_000, flags=ACK | ECE)
    peer.sends(payload=bytes(3000)).expects(flags=ACK)
    peer.at(3_000_000).queues(b"later").expects(flags=ACK | PSH | CWR, ecn=ECT_0)


@pytest.mark.parametrize("sack", [False, True])
def test_reduction_for_a_loss_is_told_too(sack: bool) -> None:
    peer = sender(sack=sack)
    for n in range(3, 7):
        peer.sends(ack=5000, blocks=[(6000, 5000 + 1000 * n)] if sack else None)
    assert not any(sent.flags & CWR for sent in peer.sent())
    peer.sends(ack=15_000).queues(b"new").expects(flags=ACK | PSH | CWR, ecn=ECT_0)


def test_reduction_by_a_timeout_is_told_too() -> None:
    peer = sender()
    peer.at(1_000_000).wakes()
    assert not any(sent.flags & CWR for sent in peer.sent())
    peer.sends(ack=15_000).queues(b"new").expects(flags=ACK | PSH | CWR, ecn=ECT_0)


def test_end_without_data_does_not_tell_of_a_reduction() -> None:
    peer = sender()
    peer.sends(ack=15_000, flags=ACK | ECE).closes()
    peer.expects(flags=ACK | PSH | FIN, ecn=NOT_ECT)


@both_families
def test_super_packet_with_cwr_says_so_where_the_device_can(ipv6: bool) -> None:
    peer = Script(agreed(mss=1000, wnd=BIG_WND, shift=2, ipv6=ipv6, tso=True, tso_ecn=True))
    peer.queues(bytes(20_000)).sends(ack=20_000, flags=ACK | ECE)
    peer.sent()
    peer.queues(bytes(5000))
    sent = peer.expects(flags=ACK | PSH | CWR, gso_size=1000, ecn=ECT_0)  # parse_sent looks for GSO_ECN
    assert sent.length == 5000


@both_families
def test_segment_with_cwr_goes_alone_where_the_device_cannot(ipv6: bool) -> None:
    peer = Script(agreed(mss=1000, wnd=BIG_WND, shift=2, ipv6=ipv6, tso=True))
    peer.queues(bytes(20_000)).sends(ack=20_000, flags=ACK | ECE)
    peer.sent()
    peer.queues(bytes(5000))
    first = peer.expects(flags=ACK | CWR, gso_size=0, ecn=ECT_0)
    assert first.length == 1000
    rest = peer.expects(flags=ACK | PSH, gso_size=1000, ecn=ECT_0)
    assert rest.length == 4000


def test_nothing_of_it_where_it_was_not_agreed_on() -> None:
    peer = Script(established(mss=1000, wnd=BIG_WND, cwnd=10_000, rcv_nxt=1000, snd_nxt=5000))
    peer.queues(bytes(10_000)).sends(ack=6000, flags=ACK | ECE)
    peer.sends(payload=bytes(3000), flags=ACK | CWR, ecn=CE)
    peer.at(1_000_000).wakes()
    assert all(sent.ecn == NOT_ECT and not sent.flags & (ECE | CWR) for sent in peer.sent())
    assert not peer.conn.cwr_due
