"""A SYN is kept unanswered until the target is known to answer; then options are settled."""

import pytest

from tests.unit.tcp.builders import RTT, START, TS_SENT, Script, established, syn_received, unanswered
from tests.unit.tcp.frames import Recorder, parse_sent
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import RCV_SHIFT, RESET_BY_US
from tunproxy.tcp.passive import refuse
from tunproxy.tcp.state import CLOSED, ESTABLISHED, SYN_RECEIVED
from tunproxy.wire.tcp import ACK, RST, SYN


def test_open_passive_sends_nothing_and_waits_for_nothing() -> None:
    peer = Script(unanswered())
    peer.expects_state(SYN_RECEIVED).expects_nothing_more()
    assert peer.deadline is None


def test_accept_answers_with_every_option_that_was_offered() -> None:
    peer = Script(unanswered(rcv_nxt=1000, snd_nxt=5000, mss=1400, shift=9, sack=True, ts=True))
    peer.accepts()
    peer.expects(
        seq=4999, ack=1000, flags=SYN | ACK, mss=1460, shift=RCV_SHIFT, sack_permitted=True,
        ts_val=START // 1000, ts_ecr=TS_SENT, wnd=0xFFFF,
    )  # fmt: skip
    peer.expects_nothing_more()


def test_accept_answers_with_no_option_that_was_not_offered() -> None:
    """RFC 7323 §1.3, RFC 2018 §2."""
    peer = Script(unanswered(mss=None))
    peer.accepts()
    peer.expects(shift=None, sack_permitted=False, ts_val=None, mss=1460)


@pytest.mark.parametrize(
    ("mtu", "ipv6", "mss"), [(1500, False, 1460), (1500, True, 1440), (9000, False, 8960)]
)
def test_accept_announces_the_device_less_fixed_headers(mtu: int, ipv6: bool, mss: int) -> None:
    """RFC 6691."""
    peer = Script(unanswered(mtu=mtu, ipv6=ipv6))
    peer.accepts()
    peer.expects(mss=mss)


@pytest.mark.parametrize(
    ("offered", "mtu", "ipv6", "ts", "snd_mss"),
    [
        (1460, 1500, False, False, 1460),
        (1460, 1500, False, True, 1448),
        (9000, 1500, False, False, 1460),
        (9000, 1500, True, False, 1440),
        (536, 1500, False, False, 536),
        (None, 1500, False, False, 536),  # RFC 9293 §3.7.1
        (0, 1500, False, False, 536),
        (1, 1500, False, False, 64),
        (65495, 65535, False, False, 65455),  # one packet holds it with every option that fits a header
    ],
)
def test_send_mss_is_the_smaller_of_peer_and_device(
    offered: int | None, mtu: int, ipv6: bool, ts: bool, snd_mss: int
) -> None:
    assert unanswered(mss=offered, mtu=mtu, ipv6=ipv6, ts=ts).snd_mss == snd_mss


def test_window_of_the_syn_is_not_scaled() -> None:
    """RFC 7323 §2.2."""
    conn = unanswered(wnd=1000, shift=9)
    assert (conn.snd_wnd, conn.snd_shift) == (1000, 9)


def test_without_a_shift_from_the_peer_we_do_not_scale_either() -> None:
    peer = Script(established(shift=None))
    peer.sends(payload=bytes(3000))
    peer.expects(wnd=0xFFFF)


def test_first_window_opens_to_the_whole_buffer_with_the_first_acknowledgment() -> None:
    peer = Script(established(shift=2, rcv_buf=1 << 20))
    peer.sends(payload=bytes(3000))
    peer.expects(wnd=((1 << 20) - 3000) >> RCV_SHIFT)


def test_initial_congestion_window_is_that_of_the_settings_or_of_rfc_6928() -> None:
    assert unanswered(cwnd=UNTHROTTLED).congestion.cwnd == UNTHROTTLED
    assert unanswered(cwnd=0, mss=1000).congestion.cwnd == 10_000


def test_refuse_resets_and_closes() -> None:
    """RFC 9293 §3.5.2: the SYN had no ACK, so <SEQ=0><ACK=SEG.SEQ+1><CTL=RST,ACK>."""
    conn, recorder = unanswered(rcv_nxt=1000), Recorder()
    refuse(conn, recorder)
    (frame,) = recorder.frames
    sent = parse_sent(frame)
    assert (sent.seq, sent.ack, sent.flags) == (0, 1000, RST | ACK)
    assert conn.state == CLOSED
    assert conn.closed_why == RESET_BY_US


def test_accept_measures_the_first_round_trip() -> None:
    conn = established()
    assert conn.rtt.srtt == RTT


def test_data_queued_before_the_handshake_ends_goes_out_after_it() -> None:
    peer = Script(syn_received(snd_nxt=5000))
    peer.queues(b"banner")
    peer.expects_nothing_more()
    peer.sends()
    peer.expects_state(ESTABLISHED)
    peer.expects(seq=5000, payload=b"banner")


def test_handshake_across_the_wrap_of_both_numbers() -> None:
    peer = Script(established(rcv_nxt=0, snd_nxt=0))
    peer.queues(b"x")
    peer.expects(seq=0, ack=0)
    peer.sends(payload=b"y")
    assert peer.delivered == b"y"
    assert peer.conn.snd_una == 1


def test_handshake_over_ipv6() -> None:
    peer = Script(established(ipv6=True, rcv_nxt=1000, snd_nxt=5000, ts=True, sack=True))
    peer.queues(b"x" * 5000)
    assert [sent.length for sent in peer.sent()] == [1428, 1428, 1428, 716]
    peer.sends(payload=b"y")
    assert peer.delivered == b"y"
