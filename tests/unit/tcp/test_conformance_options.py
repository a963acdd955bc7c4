"""Options, sizes, flags that we do not use, and forged segments (RFC 9293 §3.1, §3.2, §3.7)."""

import pytest

from tests.unit.tcp.builders import START, TS_SENT, WND, Script, established, syn_received, unanswered
from tests.unit.tcp.frames import Recorder, arriving
from tunproxy.tcp.connection import ECN_OFF
from tunproxy.tcp.receive import PAWS_IDLE, receive
from tunproxy.tcp.segments import CHALLENGE_LIMIT
from tunproxy.tcp.state import CLOSED, ESTABLISHED
from tunproxy.wire.ip import CE
from tunproxy.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

HEADER = {False: 40, True: 60}

# MSS: MUST-14, MUST-15, MUST-16, MUST-65, MUST-67


@pytest.mark.parametrize(("ipv6", "default"), [(False, 536), (True, 1220)])
def test_peer_that_names_no_segment_size_gets_the_default(ipv6: bool, default: int) -> None:
    """MUST-15."""
    peer = Script(established(mss=None, ipv6=ipv6))
    peer.queues(bytes(2 * default))
    assert [sent.length for sent in peer.sent()] == [default, default]


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("mtu", [576, 1280, 1500, 9000, 65535])
@pytest.mark.parametrize("mss", [536, 1220, 1460, 8960, 65535])
@pytest.mark.parametrize("ts", [False, True])
def test_no_packet_is_larger_than_peer_and_device_take(ipv6: bool, mtu: int, mss: int, ts: bool) -> None:
    """MUST-16: Eff.snd.MSS = min (SendMSS + 20, MMS_S) - TCPhdrsize - IPoptionsize."""
    peer = Script(established(mtu=mtu, mss=mss, ipv6=ipv6, ts=ts, shift=3))
    peer.queues(bytes(130_000))
    option = 12 if ts else 0
    largest = max(sent.length for sent in peer.sent())
    assert largest == min(mss, mtu - HEADER[ipv6], 65535 - HEADER[ipv6] - 40) - option


@pytest.mark.parametrize("ipv6", [False, True])
def test_segment_size_is_announced_in_our_syn_and_nowhere_else(ipv6: bool) -> None:
    """MUST-14, MUST-65, MUST-67, SHLD-5: the device less the fixed headers."""
    conn = unanswered(mtu=1400, ipv6=ipv6)
    peer = Script(conn)
    peer.accepts()
    peer.expects(flags=SYN | ACK, mss=1400 - HEADER[ipv6])
    peer.sends(payload=b"x").queues(bytes(3000)).closes()
    peer.sends(seq=conn.rcv_nxt - 5).aborts()
    found = peer.sent()
    assert len(found) > 3
    assert all(sent.mss is None and sent.shift is None for sent in found)


def test_absurd_segment_size_is_not_followed_down_to_nothing() -> None:
    """Octet by octet would be an attack, whoever asks for it."""
    peer = Script(established(mss=1))
    peer.queues(bytes(640))
    assert [sent.length for sent in peer.sent()] == [64] * 10


# options: MUST-5, MUST-6, MUST-7, MUST-64


@pytest.mark.parametrize(
    "opts",
    [
        bytes((253, 4, 1, 2)),  # an experiment (RFC 6994)
        bytes((1, 19, 18)) + bytes(17),  # MD5, off a word boundary
        bytes((1, 1, 1, 0)),
        bytes((28, 4, 0, 5)),  # user time-out (RFC 5482)
        bytes((200, 0, 0, 0)),  # a length of 0
        bytes((200, 40, 0, 0)),  # a length beyond the header
        bytes((2, 4, 0, 1)),  # MSS where it does not belong
    ],
    ids=["experiment", "md5", "nop", "user-timeout", "length-0", "length-40", "late-mss"],
)
def test_option_that_we_do_not_know_is_ignored_in_any_segment(opts: bytes) -> None:
    conn = established(rcv_nxt=1000)
    mss = conn.snd_mss
    seg = arriving(conn.ends, seq=1000, ack=conn.snd_nxt, flags=ACK, wnd=WND, payload=b"data", opts=opts)
    receive(conn, seg, START, Recorder())
    assert Script(conn).delivered == b"data"
    assert conn.snd_mss == mss


# ECN: SHLD-8, RFC 3168 §6.1.1


def test_syn_that_offers_ecn_is_agreed_with() -> None:
    """SHLD-8, RFC 3168 §6.1.1: ECE alone says yes; the SYN, ACK itself is not ECN-capable."""
    peer = Script(unanswered(syn_flags=SYN | ECE | CWR))
    peer.accepts()
    peer.expects(flags=SYN | ACK | ECE, ecn=0)
    peer.sends().expects_state(ESTABLISHED)


def test_syn_that_offers_ecn_is_answered_without_it_where_settings_say_no() -> None:
    """RFC 3168 §6.1.1: an answer without ECE says that this connection does not use it."""
    peer = Script(unanswered(syn_flags=SYN | ECE | CWR, ecn=ECN_OFF))
    peer.accepts()
    peer.expects(flags=SYN | ACK)
    peer.sends().queues(b"data")
    peer.expects(flags=ACK | PSH, ecn=0)


@pytest.mark.parametrize("bits", [ECE, CWR, ECE | CWR])
def test_congestion_bits_change_nothing_where_ecn_was_not_agreed_on(bits: int) -> None:
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.queues(b"down")
    cwnd = peer.conn.congestion.cwnd
    peer.sends(payload=b"up", flags=ACK | PSH | bits, ecn=CE)
    assert peer.delivered == b"up"
    assert peer.conn.snd_una == 5004
    assert peer.conn.congestion.cwnd == cwnd
    peer.queues(b"more")
    assert all(not sent.flags & (ECE | CWR) and sent.ecn == 0 for sent in peer.sent())


# URG: MUST-30, MUST-31


@pytest.mark.parametrize("flags", [ACK | URG, ACK | URG | PSH | FIN])
def test_urgent_segment_of_any_length_is_ordinary_data(flags: int) -> None:
    peer = Script(established(rcv_nxt=1000))
    peer.sends(payload=bytes(30_000), flags=flags)
    assert len(peer.delivered) == 30_000


# RFC 5961: blind attacks, and their limit


@pytest.mark.parametrize("kind", ["RST", "SYN", "data"])
def test_blind_attack_in_the_window_is_challenged_some_times_a_second_and_ends_nothing(kind: str) -> None:
    """RFC 5961 §3.2, §4.2, §5.2, §7."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=500_000, wnd=1000))
    for n in range(200):
        at = peer.at(n * 1000)
        if kind == "RST":
            at.sends(seq=1001 + n, flags=RST)
        elif kind == "SYN":
            at.sends_syn(seq=1000 + n)
        else:
            at.sends(seq=1000 + n, payload=b"evil", ack=500_000 - 5000 - n)
    peer.expects_state(ESTABLISHED)
    assert len(peer.sent()) == CHALLENGE_LIMIT
    assert peer.delivered == b""


def test_reset_that_a_challenge_brings_is_obeyed() -> None:
    """RFC 5961 §3.2: a peer that has really forgotten answers with the number that we expect."""
    peer = Script(established(rcv_nxt=1000))
    peer.sends_syn(seq=77_777)
    challenge = peer.expects(flags=ACK)
    peer.sends(seq=challenge.ack, flags=RST).expects_state(CLOSED)


def test_reset_in_syn_received_must_be_exact_too() -> None:
    """RFC 9293 §3.10.7.4 as it updates RFC 5961."""
    peer = Script(syn_received(rcv_nxt=1000))
    peer.sends(seq=1500, flags=RST)
    peer.expects(ack=1000, flags=ACK)
    peer.sends(seq=1000, flags=RST).expects_state(CLOSED)


# RFC 7323


def test_paws_drops_an_old_duplicate_from_before_the_wrap() -> None:
    """§5.3 R1: answered, and neither its data nor its acknowledgment count."""
    peer = Script(established(rcv_nxt=1000, snd_nxt=5000, ts=True))
    peer.queues(b"down")
    peer.sent()
    peer.sends(payload=b"old", ts=(TS_SENT - 1, 0))
    peer.expects(ack=1000, flags=ACK)
    assert peer.delivered == b""
    assert peer.conn.snd_una == 5000


def test_paws_forgets_after_24_days() -> None:
    """§5.5."""
    peer = Script(established(rcv_nxt=1000, ts=True))
    peer.at(PAWS_IDLE + 1_000_000).sends(payload=b"late", ts=(TS_SENT - 1, 0))
    assert peer.delivered == b"late"


@pytest.mark.parametrize("shift", [14, 15, 255])
def test_shift_above_14_counts_as_14(shift: int) -> None:
    """§2.3."""
    peer = Script(established(shift=shift))
    assert peer.conn.snd_shift == 14
