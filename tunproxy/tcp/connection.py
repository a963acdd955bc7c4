"""The state of one connection (RFC 9293 §3.3.1) and the few questions everybody asks it.

  acknowledged        under way            may be sent     not yet allowed
───────────────┬────────────────────┬───────────────────┬─────────────────
            snd_una              snd_nxt         snd_una + snd_wnd

  delivered           may arrive           not allowed
───────────────┬────────────────────┬─────────────────────────────────────
            rcv_nxt              rcv_adv
"""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.tcp.assembler import Assembler
from tunproxy.tcp.congestion import Congestion
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.rtt import RttEstimator
from tunproxy.tcp.send_buffer import SendBuffer
from tunproxy.tcp.seq import seq_sub
from tunproxy.tcp.state import CLOSED, is_allowed
from tunproxy.wire.ip import MAX_PACKET, Endpoints

DEFAULT_MSS: Final[i64] = 536  # RFC 9293 §3.7.1
DEFAULT_MSS_V6: Final[i64] = 1220

# why a connection is CLOSED
NOT_CLOSED: Final[i64] = 0
FINISHED: Final[i64] = 1
RESET_BY_PEER: Final[i64] = 2
RESET_BY_US: Final[i64] = 3
TIMED_OUT: Final[i64] = 4
CLOSE_NAMES: Final = ("open", "finished", "reset by peer", "reset by us", "timed out")

# what is done about ECN; the numbers are those of the kernel's tcp_ecn
ECN_OFF: Final[i64] = 0
ECN_OFFERED: Final[i64] = 1  # and accepted
ECN_ACCEPTED: Final[i64] = 2

# our choices
RCV_BUF: Final[i64] = 1 << 20  # 1 MiB: 20 Gbit/s over the 50 µs round trip of a local device need 125 KB
SND_BUF: Final[i64] = 1 << 20
RCV_SHIFT: Final[i64] = 7  # a window of up to 8 MiB, in steps of 128 octets
DELAYED_ACK: Final[i64] = 5_000  # RFC 9293 §3.8.6.3 allows 500 ms; an answer usually comes in less than 5
KEEPALIVE: Final[i64] = 120_000_000  # silence after which we ask; keepalive.py says why so short
TIME_WAIT_LENGTH: Final[i64] = 2_000_000  # 2 MSL; between us and the client lies only a local queue


@final
@mypyc_attr(native_class=True)
class Settings:
    """What all connections of one stack share: sizes, and one scratch buffer for headers."""

    def __init__(
        self,
        mtu: i64,
        rcv_buf: i64 = RCV_BUF,
        cwnd: i64 = 0,
        has_tso4: bool = True,
        has_tso6: bool = True,
        keepalive: i64 = KEEPALIVE,
        rcv_buf_most: i64 = 0,
        has_tso_ecn: bool = False,
        ecn: i64 = ECN_ACCEPTED,
    ) -> None:
        self.mtu: Final = mtu
        self.rcv_buf: Final = rcv_buf  # what a connection begins with
        self.rcv_buf_most: Final = max(rcv_buf, rcv_buf_most)  # and what it may grow to
        self.cwnd: Final = cwnd  # initial window in octets; 0 means RFC 6928's
        self.has_tso4: Final = has_tso4
        self.has_tso6: Final = has_tso6
        self.has_tso_ecn: Final = has_tso_ecn  # super-packets may have CWR
        self.ecn: Final = ecn
        self.keepalive: Final = keepalive  # microseconds of silence before we ask; 0: never
        self.scratch: Final = BytesWriter()


@final
@mypyc_attr(native_class=True, acyclic=True)
class Connection:
    """One connection. Only the functions of this package change it; owners read it and take rcv_queue."""

    def __init__(self, ends: Endpoints, settings: Settings, iss: i64, state: i64) -> None:
        self.ends: Final = ends
        self.settings: Final = settings
        self.state: i64 = state
        self.is_answered: bool = False  # in SYN-RECEIVED: our SYN has been sent
        self.closed_why: i64 = NOT_CLOSED
        # send sequence space
        self.iss: Final = iss
        self.snd_una: i64 = iss
        self.snd_nxt: i64 = iss
        self.snd_wnd: i64 = 0
        self.snd_wl1: i64 = 0
        self.snd_wl2: i64 = 0
        self.snd_shift: i64 = 0
        self.snd_mss: i64 = DEFAULT_MSS
        self.snd_burst: i64 = DEFAULT_MSS  # octets in the largest super-packet
        self.max_snd_wnd: i64 = 0
        self.buffer: Final = SendBuffer()
        self.fin_queued: bool = False
        self.fin_sent: bool = False
        # receive sequence space
        self.irs: i64 = 0
        self.rcv_nxt: i64 = 0
        self.rcv_adv: i64 = 0
        self.rcv_shift: i64 = 0
        self.rcv_mss: i64 = settings.mtu - ends.header_len - 20
        self.rcv_queue: list[bytes | memoryview] = []
        self.rcv_queued: i64 = 0
        self.rcv_buf: i64 = settings.rcv_buf  # as autotune.py has it
        self.rcv_rtt: i64 = 0  # the shortest round trip seen, 0 for none
        self.tune_edge: i64 = 0  # rcv_nxt when a whole buffer more has come
        self.tune_at: Micros = -1  # when that was noted
        self.fin_seq: i64 = -1  # where a FIN that came ahead of a gap lies
        self.assembler: Assembler | None = None
        # options
        self.ts_on: bool = False
        self.ts_recent: i64 = 0
        self.ts_recent_at: Micros = 0
        self.ts_offset: i64 = 0
        self.last_ack_sent: i64 = 0
        self.sack_on: bool = False
        self.dsack_left: i64 = -1  # a duplicate that the next acknowledgment reports
        self.dsack_right: i64 = 0
        # ECN (ecn.py)
        self.ecn_on: bool = False  # CE marks are echoed; until our SYN is answered: we offer it
        self.ecn_sends: bool = False  # new data goes out as ECN-capable
        self.ece: i64 = 0  # the flag ECE, while a mark is to be echoed
        self.cwr_due: bool = False  # the next new data says that the window was reduced
        self.reduced_at: i64 = iss  # snd_nxt when that was
        self.reduced_for_echo: bool = False
        # loss and congestion
        self.rtt: Final = RttEstimator()
        self.congestion: Final = Congestion(DEFAULT_MSS, settings.cwnd)
        self.recovery: Recovery | None = None  # made when it is first of use
        # when data was sent last; with SACK and as long as recovery is None: all that is under way
        self.sent_at: Micros = -1
        self.used_until: i64 = iss  # up to here octets filled the congestion window when they were sent
        self.retransmits: i64 = 0
        self.rtt_seq: i64 = -1  # end of the segment being timed (RFC 6298 §3)
        self.rtt_at: Micros = -1
        # deadlines
        self.rto_at: Micros = -1
        self.timeouts: i64 = 0  # in a row
        self.reorder_at: Micros = -1  # RACK reordering timer
        self.probe_at: Micros = -1  # tail loss probe
        self.persist_at: Micros = -1
        self.resume_at: Micros = -1  # until when marks keep new data back
        self.probes: i64 = 0  # since the window closed
        self.probes_lost: i64 = 0  # unanswered, in a row
        self.ack_at: Micros = -1
        self.time_wait_at: Micros = -1
        self.keepalive_at: Micros = -1
        self.keepalives: i64 = 0  # unanswered, in a row
        self.heard_at: Micros = -1  # when the last acceptable segment arrived
        self.challenges_at: Micros = -1  # start of the second in which challenge_count were sent
        self.challenge_count: i64 = 0
        # acknowledgment owed
        self.ack_now: bool = False
        self.unacked: i64 = 0  # octets received since the last acknowledgment we sent
        self.ack_every: i64 = 2 * self.rcv_mss  # so many are acknowledged at once

    @property
    def flight_size(self) -> i64:
        """Octets sent and not yet acknowledged (RFC 5681 §2)."""
        return seq_sub(self.snd_nxt, self.snd_una)

    @property
    def in_recovery(self) -> bool:
        """True while what was lost is made up for."""
        return self.recovery is not None and self.recovery.is_on


def recovery_of(conn: Connection) -> Recovery:
    """Return the state of loss recovery, made now if there has been no use for it."""
    found = conn.recovery
    if found is None:
        found = conn.recovery = Recovery(conn.snd_una, conn.snd_nxt)
        if conn.sack_on and conn.snd_nxt != conn.snd_una:
            found.rack.sent(conn.snd_una, conn.snd_nxt, conn.sent_at)
    return found


def pipe(conn: Connection) -> i64:
    """Return the octets believed to be in the network (RFC 6675 §4 SetPipe)."""
    found = conn.flight_size
    recovery = conn.recovery
    if recovery is None:
        return found
    if conn.sack_on:
        return found - recovery.rack.lost_octets - recovery.scoreboard.sacked
    if recovery.dupacks > 0:  # what they answer has left the network; before recovery: RFC 3042
        found -= min(recovery.dupacks * conn.snd_mss, found)
    return found - seq_sub(recovery.lost_until, recovery.rtx_nxt)


def enter(conn: Connection, state: i64) -> None:
    """Move to state; the move must be in the table of transitions."""
    assert is_allowed(conn.state, state), f"{conn.state} -> {state}"
    conn.state = state


def close_down(conn: Connection, why: i64) -> None:
    """Move to CLOSED and let go of everything that was held."""
    enter(conn, CLOSED)
    conn.closed_why = why
    conn.rto_at = -1
    conn.reorder_at = -1
    conn.probe_at = -1
    conn.persist_at = -1
    conn.resume_at = -1
    conn.ack_at = -1
    conn.time_wait_at = -1
    conn.keepalive_at = -1
    conn.ack_now = False
    conn.assembler = None
    conn.recovery = None
    conn.buffer.acknowledge(conn.buffer.length)


def free_space(conn: Connection) -> i64:
    """Return the octets of receive buffer that nothing occupies; data ahead of a gap lies in the window."""
    return max(conn.rcv_buf - conn.rcv_queued, 0)


def send_room(conn: Connection) -> i64:
    """Return how many octets the owner may queue: what can be sent now, or one segment to probe with.

    More would only lie in our memory instead of in the upstream socket's, where it throttles the sender.
    What has arrived out of order has left the network and makes room for more (RFC 6675 §5, RFC 3042).
    """
    cwnd = conn.congestion.cwnd
    recovery = conn.recovery
    if recovery is not None:
        cwnd += recovery.scoreboard.sacked + recovery.dupacks * conn.snd_mss
        if recovery.prr.is_on:
            cwnd = max(cwnd, conn.flight_size + recovery.prr.room - recovery.rack.lost_octets)
    usable = min(conn.snd_wnd, min(cwnd, SND_BUF))
    return max(usable, conn.snd_mss) - conn.buffer.length


def set_send_mss(conn: Connection, peer_mss: i64) -> None:
    """Settle how much we send at once from the peer's MSS option and the device (RFC 9293 §3.7.1)."""
    header_len = conn.ends.header_len
    most = MAX_PACKET - header_len - 60
    mss = max(min(peer_mss, min(conn.settings.mtu - header_len - 20, most)), 64)
    if conn.ts_on:
        mss -= 12
    conn.snd_mss = mss
    has_tso = conn.settings.has_tso6 if conn.ends.is_ipv6 else conn.settings.has_tso4
    conn.snd_burst = most - most % mss if has_tso else mss
    conn.congestion.mss = mss
