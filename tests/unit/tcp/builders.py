"""Connections in every state, brought there by real segments, and a peer that talks by a script.

    peer = Script(established(rcv_nxt=1000, snd_nxt=5000))
    peer.at(0).sends(seq=900, payload=b"old")
    peer.expects(seq=5000, ack=1000, flags=ACK)
    peer.expects_nothing_more()

Times in a script count from the moment the connection was built, in microseconds. A script settles after
each step as an owner does: it transmits what may be sent.
"""

from collections.abc import Callable
from typing import Any

from tests.unit.tcp.frames import Recorder, Sent, arriving, ends, held, options, parse_sent
from tunproxy.tcp.active import abort, close, open_active, queue, took
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import ECN_ACCEPTED, RCV_BUF, Connection, Settings
from tunproxy.tcp.deadline import next_deadline, on_deadline
from tunproxy.tcp.passive import accept, open_passive
from tunproxy.tcp.receive import receive
from tunproxy.tcp.state import CLOSED, NAMES
from tunproxy.tcp.transmit import transmit
from tunproxy.wire.tcp import ACK, FIN, RST, SYN

START = 10_000_000  # what the clock says when a script begins
RTT = 10_000  # of the handshakes below
TS_SENT = 777_000  # the peer's timestamp clock, at START
WND = 0xFFFF


class Script:
    """The peer of a connection, and its owner, one step after the other."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.now = START
        self.wnd = WND
        self.recorder = Recorder()

    # time

    def at(self, us: int) -> "Script":
        """Go to this time; nothing happens on the way."""
        assert START + us >= self.now, "time does not go back"
        self.now = START + us
        return self

    def wakes(self) -> "Script":
        """Have the connection look at its timers."""
        on_deadline(self.conn, self.now, self.recorder)
        return self

    def waits(self) -> int:
        """Go to the next deadline, do what is due, and return when that was."""
        due = next_deadline(self.conn)
        assert due >= 0, "nothing is scheduled"
        self.now = max(self.now, due)
        self.wakes()
        return self.now - START

    @property
    def deadline(self) -> int | None:
        """When the connection wants to be woken, None for never."""
        due = next_deadline(self.conn)
        return None if due < 0 else due - START

    # the peer

    def sends(
        self,
        *,
        seq: int | None = None,
        ack: int | None = None,
        flags: int = ACK,
        payload: bytes = b"",
        wnd: int | None = None,
        ts: tuple[int, int] | bool = True,
        blocks: list[tuple[int, int]] | None = None,
        ecn: int = 0,
        settle: bool = True,
    ) -> "Script":
        """Have a segment arrive: the next one, that acknowledges everything, where nothing else is said.

        ts is (TSval, TSecr), or whether to send timestamps where they were agreed on.
        """
        conn = self.conn
        if wnd is not None:
            self.wnd = wnd
        stamps = None if isinstance(ts, bool) else ts
        if ts is True and conn.ts_on:
            stamps = (self.ts_val, 0)
        seg = arriving(
            conn.ends,
            seq=conn.rcv_nxt if seq is None else seq,
            ack=conn.snd_nxt if ack is None else ack,
            flags=flags,
            wnd=self.wnd,
            payload=payload,
            opts=options(ts=stamps, blocks=blocks),
            ecn=ecn,
        )
        receive(conn, seg, self.now, self.recorder)
        return self.settles() if settle else self

    def sends_syn(self, *, seq: int, flags: int = SYN, ack: int = 0, **offered: Any) -> "Script":
        """Have a SYN arrive, with these options."""
        seg = arriving(self.conn.ends, seq=seq, ack=ack, flags=flags, wnd=self.wnd, opts=options(**offered))
        receive(self.conn, seg, self.now, self.recorder)
        return self.settles()

    @property
    def ts_val(self) -> int:
        """What the peer's timestamp clock says."""
        return TS_SENT + (self.now - START) // 1000

    # the owner

    def settles(self) -> "Script":
        """Send what may be sent."""
        transmit(self.conn, self.now, self.recorder)
        return self

    def accepts(self) -> "Script":
        accept(self.conn, self.now, self.recorder)
        return self.settles()

    def queues(self, data: bytes) -> "Script":
        queue(self.conn, data)
        return self.settles()

    def closes(self) -> "Script":
        close(self.conn)
        return self.settles()

    def aborts(self) -> "Script":
        abort(self.conn, self.recorder)
        return self.settles()

    def takes(self, count: int | None = None) -> bytes:
        """Take count delivered octets, or all of them, out of the queue."""
        found = held(self.conn)
        size = len(found) if count is None else count
        assert size <= len(found)
        self.conn.rcv_queue[:] = [found[size:]] if size < len(found) else []
        took(self.conn, size)
        self.settles()
        return found[:size]

    @property
    def delivered(self) -> bytes:
        """What has been delivered and not taken."""
        return held(self.conn)

    # what comes out

    def sent(self) -> list[Sent]:
        """Return everything that was sent since the last look."""
        found = [parse_sent(frame) for frame in self.recorder.frames]
        self.recorder.frames.clear()
        return found

    def expects(self, **fields: Any) -> Sent:
        """Take the next segment that was sent and compare these fields of it."""
        assert self.recorder.frames, f"nothing was sent, expected {fields}"
        sent = parse_sent(self.recorder.frames.pop(0))
        found = {name: getattr(sent, name) for name in fields}
        assert found == fields
        return sent

    def expects_nothing_more(self) -> "Script":
        assert self.sent() == []
        return self

    def expects_state(self, state: int) -> "Script":
        assert NAMES[self.conn.state] == NAMES[state]
        return self


def settings(
    *,
    mtu: int = 1500,
    rcv_buf: int = RCV_BUF,
    cwnd: int = UNTHROTTLED,
    tso: bool = False,
    keepalive: int = 0,
    rcv_buf_most: int = 0,
    tso_ecn: bool = False,
    ecn: int = ECN_ACCEPTED,
) -> Settings:
    """Return settings for tests: no super-packets, no throttle, no keepalives unless asked for."""
    return Settings(mtu, rcv_buf, cwnd, tso, tso, keepalive, rcv_buf_most, tso_ecn, ecn)


def unanswered(
    *,
    rcv_nxt: int = 1000,
    snd_nxt: int = 5000,
    wnd: int = WND,
    mss: int | None = 1460,
    shift: int | None = None,
    sack: bool = False,
    ts: bool = False,
    ipv6: bool = False,
    syn_flags: int = SYN,
    **sizes: Any,
) -> Connection:
    """Return a connection whose SYN waits for the target; it will have these numbers once established."""
    opts = options(mss=mss, shift=shift, sack_permitted=sack, ts=(TS_SENT, 0) if ts else None)
    ours = ends(ipv6=ipv6)
    syn = arriving(ours, seq=(rcv_nxt - 1) % 2**32, flags=syn_flags, wnd=wnd, opts=opts)
    return open_passive(ours, settings(**sizes), syn, (snd_nxt - 1) % 2**32, 0)


def syn_received(**how: Any) -> Connection:
    conn = unanswered(**how)
    accept(conn, START - RTT, Recorder())
    return conn


def syn_sent(*, snd_nxt: int = 5000, ipv6: bool = False, **sizes: Any) -> Connection:
    iss = (snd_nxt - 1) % 2**32
    return open_active(ends(ipv6=ipv6), settings(**sizes), iss, 0, START - RTT, Recorder())


def established(**how: Any) -> Connection:
    """Return a connection that has moved no data; its peer acknowledged our SYN a moment ago."""
    conn = syn_received(**how)
    script = Script(conn)
    script.wnd = how.get("wnd", WND)
    script.sends()
    assert script.sent() == []
    return conn


def close_wait(**how: Any) -> Connection:
    conn = established(**how)
    Script(conn).sends(flags=ACK | FIN)
    return conn


def fin_wait_1(**how: Any) -> Connection:
    conn = established(**how)
    Script(conn).closes()
    return conn


def fin_wait_2(**how: Any) -> Connection:
    conn = fin_wait_1(**how)
    Script(conn).sends()
    return conn


def closing(**how: Any) -> Connection:
    conn = fin_wait_1(**how)
    Script(conn).sends(flags=ACK | FIN, ack=conn.snd_una)
    return conn


def last_ack(**how: Any) -> Connection:
    conn = close_wait(**how)
    Script(conn).closes()
    return conn


def time_wait(**how: Any) -> Connection:
    conn = fin_wait_2(**how)
    Script(conn).sends(flags=ACK | FIN)
    return conn


def closed(**how: Any) -> Connection:
    conn = established(**how)
    Script(conn).sends(flags=RST)
    assert conn.state == CLOSED
    return conn


SYNCHRONIZED: dict[str, Callable[..., Connection]] = {
    "ESTABLISHED": established,
    "FIN-WAIT-1": fin_wait_1,
    "FIN-WAIT-2": fin_wait_2,
    "CLOSE-WAIT": close_wait,
    "CLOSING": closing,
    "LAST-ACK": last_ack,
    "TIME-WAIT": time_wait,
}

EVERY_STATE: dict[str, Callable[..., Connection]] = {
    "SYN-RECEIVED unanswered": unanswered,
    "SYN-RECEIVED": syn_received,
    "SYN-SENT": syn_sent,
    **SYNCHRONIZED,
    "CLOSED": closed,
}
