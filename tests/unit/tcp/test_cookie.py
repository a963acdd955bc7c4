"""SYN cookies: what a SYN said comes back with the ACK, once, soon, and to nobody who has not seen it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tcp.builders import START, Script, settings
from tests.unit.tcp.frames import Recorder, Sent, arriving, ends, options, parse_sent
from tunproxy.tcp.connection import ECN_ACCEPTED, ECN_OFF, RCV_SHIFT, Connection
from tunproxy.tcp.cookie import LIFETIME, MSS_TABLE, PERIOD, Cookies, marked
from tunproxy.tcp.passive import answer_with_cookie, reopen
from tunproxy.tcp.receive import receive
from tunproxy.tcp.segments import ts_now
from tunproxy.tcp.state import ESTABLISHED
from tunproxy.wire.ip import Endpoints
from tunproxy.wire.tcp import ACK, CWR, ECE, SYN, Segment

KEY = b"\x0a\0\0\2\xc0\0\2\1\xc3\x50\0\x50"
KEY_V6 = bytes(range(32)) + KEY[8:]
IRS = 4_000_000_000
TS_OFFSET = 0xFFFF_FFF0
TS_VAL = 776_000  # some time before a Script begins

words = st.integers(0, 2**32 - 1)
mss_options = st.none() | st.integers(0, 65535)
shifts = st.none() | st.integers(0, 14)


class Exchange:
    """A SYN that was answered with a cookie, and the ACK of a peer that got the answer."""

    def __init__(
        self,
        *,
        mss: int | None = 1460,
        shift: int | None = 9,
        sack: bool = True,
        ts: bool = True,
        ipv6: bool = False,
        irs: int = IRS,
        now: int = START,
        mtu: int = 1500,
        flags: int = SYN,
        ecn: int = ECN_ACCEPTED,
    ) -> None:
        self.ours: Endpoints = ends(ipv6=ipv6)
        self.cookies = Cookies(bytes(16))
        self.settings = settings(mtu=mtu, ecn=ecn)
        self.irs, self.now, self.ts = irs, now, ts
        stamps = (TS_VAL, 0) if ts else None
        opts = options(mss=mss, shift=shift, sack_permitted=sack, ts=stamps)
        syn = arriving(self.ours, seq=irs, flags=flags, wnd=5000, opts=opts)
        recorder = Recorder()
        self.key = KEY_V6 if ipv6 else KEY
        self.number = self.cookies.number(self.key, syn, now)
        answer_with_cookie(self.ours, self.settings, syn, self.number, TS_OFFSET, now, recorder)
        (frame,) = recorder.frames
        self.answer: Sent = parse_sent(frame)

    def ack(
        self, *, seq: int = 1, ack: int = 1, wnd: int = 600, ecr: int | None = None, payload: bytes = b""
    ) -> Segment:
        """Return the ACK; seq and ack count from the initial numbers."""
        stamps = None
        if self.ts:
            assert self.answer.ts_val is not None
            stamps = (TS_VAL + 3, self.answer.ts_val if ecr is None else ecr)
        return arriving(
            self.ours, seq=(self.irs + seq) % 2**32, ack=(self.answer.seq + ack) % 2**32, flags=ACK, wnd=wnd,
            payload=payload, opts=options(ts=stamps),
        )  # fmt: skip

    def recall(self, seg: Segment | None = None, *, later: int = 0, key: bytes = b"") -> Segment | None:
        return self.cookies.recall(key or self.key, seg or self.ack(), self.now + later)

    def connection(self, payload: bytes = b"") -> Connection:
        """Return the connection that the ACK makes."""
        seg = self.ack(payload=payload)
        syn = self.recall(seg)
        assert syn is not None
        conn = reopen(self.ours, self.settings, syn, self.number, TS_OFFSET, self.now)
        recorder = Recorder()
        receive(conn, seg, self.now, recorder)
        assert recorder.frames == []
        return conn


# the round trip


@given(mss_options, shifts, st.booleans(), st.booleans(), st.booleans(), words)
def test_every_combination_of_options_comes_back(
    mss: int | None, shift: int | None, sack: bool, ts: bool, ipv6: bool, irs: int
) -> None:
    exchange = Exchange(mss=mss, shift=shift, sack=sack, ts=ts, ipv6=ipv6, irs=irs)
    syn = exchange.recall()
    assert syn is not None
    assert syn.seq == irs
    announced = mss or (1220 if ipv6 else 536)  # RFC 9293 §3.7.1
    assert syn.mss == max(size for size in MSS_TABLE if size <= max(announced, 64))
    assert syn.sack_permitted == (sack and ts)
    assert syn.wnd_shift == (shift if ts and shift is not None else -1)
    assert (syn.ts_val >= 0) == ts


@given(mss_options, shifts, st.booleans(), st.booleans(), st.booleans())
def test_answer_agrees_to_what_the_ack_can_bring_back_and_to_nothing_else(
    mss: int | None, shift: int | None, sack: bool, ts: bool, ipv6: bool
) -> None:
    exchange = Exchange(mss=mss, shift=shift, sack=sack, ts=ts, ipv6=ipv6)
    answer = exchange.answer
    assert (answer.flags, answer.ack, answer.payload) == (SYN | ACK, (IRS + 1) % 2**32, b"")
    assert answer.mss == (1440 if ipv6 else 1460)
    assert answer.sack_permitted == (sack and ts)
    assert answer.shift == (RCV_SHIFT if ts and shift is not None else None)
    assert answer.ts_ecr == (TS_VAL if ts else None)
    conn = exchange.connection()
    assert conn.sack_on == answer.sack_permitted
    assert conn.ts_on == (answer.ts_val is not None)
    assert conn.rcv_shift == (answer.shift or 0)


def test_connection_is_established_and_moves_data() -> None:
    exchange = Exchange()
    conn = exchange.connection(payload=b"hello")
    peer = Script(conn)
    peer.expects_state(ESTABLISHED)
    assert conn.snd_wnd == 600 << 9
    assert conn.snd_mss == 1448
    assert peer.delivered == b"hello"
    peer.queues(b"x" * 1448)
    peer.expects(seq=(exchange.answer.seq + 1) % 2**32, ack=(IRS + 6) % 2**32, payload=b"x" * 1448)
    peer.sends()
    assert conn.flight_size == 0


def test_connection_offers_no_less_than_the_answer_did() -> None:
    """RFC 9293 §3.8.6: the right edge never moves left."""
    exchange = Exchange()
    conn = exchange.connection()
    assert (conn.rcv_adv - conn.rcv_nxt) % 2**32 >= exchange.answer.wnd


def test_connection_without_window_scale_takes_the_window_as_it_is() -> None:
    conn = Exchange(ts=False).connection()
    assert (conn.snd_wnd, conn.rcv_shift) == (600, 0)


# timestamps


@given(words, st.integers(0, 63))
def test_marked_timestamp_bears_the_options_and_is_not_ahead(timestamp: int, opts: int) -> None:
    found = marked(timestamp, opts)
    assert found & 63 == opts
    assert 0 <= (timestamp - found) % 2**32 < 64


@given(st.integers(0, 2**40))
def test_later_timestamps_of_ours_do_not_go_back(now: int) -> None:
    exchange = Exchange(now=now)
    conn = exchange.connection()
    assert exchange.answer.ts_val is not None
    assert (ts_now(conn, now) - exchange.answer.ts_val) % 2**32 < 2**31


# ECN


@given(st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_ecn_comes_back_where_there_are_timestamps(offers: bool, ts: bool, sack: bool, ipv6: bool) -> None:
    """RFC 3168 §6.1.1; a cookie without a timestamp has no room for it."""
    flags = SYN | ECE | CWR if offers else SYN
    exchange = Exchange(flags=flags, ts=ts, sack=sack, ipv6=ipv6)
    is_agreed = offers and ts
    assert exchange.answer.flags == (SYN | ACK | ECE if is_agreed else SYN | ACK)
    assert exchange.answer.ecn == 0
    conn = exchange.connection()
    assert (conn.ecn_on, conn.ecn_sends) == (is_agreed, is_agreed)


@pytest.mark.parametrize("bits", [ECE, CWR])
def test_half_an_offer_is_none_to_a_cookie(bits: int) -> None:
    exchange = Exchange(flags=SYN | bits)
    assert exchange.answer.flags == SYN | ACK
    assert not exchange.connection().ecn_on


def test_cookie_agrees_to_no_ecn_where_settings_say_no() -> None:
    exchange = Exchange(flags=SYN | ECE | CWR, ecn=ECN_OFF)
    assert exchange.answer.flags == SYN | ACK
    assert not exchange.connection().ecn_on


def test_syn_sent_again_without_the_offer_has_the_same_cookie() -> None:
    """RFC 3168 §6.1.1.1: it is the same connection, whichever answer the peer gets."""
    first, again = Exchange(flags=SYN | ECE | CWR), Exchange(flags=SYN)
    assert first.number == again.number
    assert again.answer.flags == SYN | ACK
    assert not again.connection().ecn_on


# age


@given(st.integers(0, 2**40), st.integers(0, PERIOD))
def test_cookie_is_good_for_a_period(now: int, age: int) -> None:
    assert Exchange(now=now).recall(later=age) is not None


@given(st.integers(0, 2**40), st.integers(LIFETIME, 1000 * PERIOD))
def test_cookie_is_worthless_after_its_lifetime(now: int, age: int) -> None:
    assert Exchange(now=now).recall(later=age) is None


def test_cookie_is_spent_once() -> None:
    exchange = Exchange()
    assert exchange.recall() is not None
    assert exchange.recall() is None
    assert exchange.recall(later=PERIOD) is None


@given(st.integers(0, 2**40), st.integers(0, LIFETIME), st.integers(0, LIFETIME))
def test_cookie_is_never_taken_twice_whatever_comes_between(now: int, first: int, second: int) -> None:
    exchange = Exchange(now=now)
    taken = exchange.recall(later=first) is not None
    other = Exchange(now=now + first + second // 2, irs=IRS + 1)
    other.cookies = exchange.cookies
    assert other.recall() is not None
    again = exchange.recall(later=first + second) is not None
    assert not (taken and again)


@pytest.mark.parametrize("wait", [0, PERIOD, 5 * PERIOD])
def test_spent_cookies_leave_others_alone(wait: int) -> None:
    exchange = Exchange()
    for number in range(3):
        other = Exchange(now=START + wait * number, irs=IRS + 1 + number)
        other.cookies = exchange.cookies
        assert other.recall() is not None


# forgery


@given(words, words)
def test_guessed_cookie_is_refused(seq: int, ack: int) -> None:
    exchange = Exchange()
    guess = exchange.ack(seq=seq, ack=ack)
    is_right = (seq, ack) == (1, 1)
    assert (exchange.recall(guess) is not None) == is_right


@pytest.mark.parametrize("at", range(len(KEY)))
def test_cookie_is_refused_from_other_addresses_and_ports(at: int) -> None:
    other = bytearray(KEY)
    other[at] ^= 1
    assert Exchange().recall(key=bytes(other)) is None


@pytest.mark.parametrize("bit", range(5))
def test_cookie_is_refused_where_the_timestamp_claims_other_options(bit: int) -> None:
    exchange = Exchange()
    assert exchange.answer.ts_val is not None
    assert exchange.recall(exchange.ack(ecr=exchange.answer.ts_val ^ (1 << bit))) is None


def test_cookie_is_refused_where_the_timestamp_is_gone() -> None:
    exchange = Exchange()
    exchange.ts = False
    assert exchange.recall() is None


@pytest.mark.parametrize("bit", range(29, 32))
def test_cookie_is_refused_where_it_claims_another_mss(bit: int) -> None:
    exchange = Exchange()
    assert exchange.recall(exchange.ack(ack=1 + (1 << bit))) is None


def test_cookie_is_refused_by_another_secret() -> None:
    exchange = Exchange()
    exchange.cookies = Cookies(b"\1" * 16)
    assert exchange.recall() is None
