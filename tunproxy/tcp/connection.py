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
from tunproxy.tcp.prr import Prr
from tunproxy.tcp.rack import Rack
from tunproxy.tcp.rtt import RttEstimator
from tunproxy.tcp.scoreboard import Scoreboard
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
    ) -> None:
        self.mtu: Final = mtu
        self.rcv_buf: Final = rcv_buf
        self.cwnd: Final = cwnd  # initial window in octets; 0 means RFC 6928's
        self.has_tso4: Final = has_tso4
        self.has_tso6: Final = has_tso6
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
        # loss and congestion
        self.rtt: Final = RttEstimator()
        self.congestion: Final = Congestion(DEFAULT_MSS, settings.cwnd)
        self.scoreboard: Scoreboard | None = None
        self.rack: Final = Rack(iss)
        self.prr: Final = Prr()
        self.delivered: i64 = 0  # octets that the acknowledgment under work told of
        self.in_recovery: bool = False
        self.recovery_point: i64 = 0
        self.reduced_order: i64 = 0  # the newest run when the window was reduced last
        self.dsacks: i64 = 0  # duplicates of ours that the peer reported
        self.undo_from: i64 = -1  # where what was sent again in this recovery begins
        self.undo_octets: i64 = 0  # of it, not known to have been needless
        self.undo_cwnd: i64 = 0
        self.undo_ssthresh: i64 = 0
        self.tlp_end: i64 = -1  # snd_nxt behind the tail loss probe that is under way
        self.tlp_is_again: bool = False  # it repeated something
        self.tlp_count: i64 = 0  # probes since the peer told of anything new
        # where the peer does not speak SACK
        self.dupacks: i64 = 0
        self.limited: i64 = 0  # octets that duplicates let out (RFC 3042)
        self.rtx_nxt: i64 = iss
        self.lost_until: i64 = iss
        self.retransmits: i64 = 0
        self.rtt_seq: i64 = -1  # end of the segment being timed (RFC 6298 §3)
        self.rtt_at: Micros = -1
        # deadlines
        self.rto_at: Micros = -1
        self.timeouts: i64 = 0  # in a row
        self.reorder_at: Micros = -1  # RACK reordering timer
        self.probe_at: Micros = -1  # tail loss probe
        self.persist_at: Micros = -1
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


def pipe(conn: Connection) -> i64:
    """Return the octets believed to be in the network (RFC 6675 §4 SetPipe)."""
    found = conn.flight_size
    if conn.sack_on:
        found -= conn.rack.lost_octets
        return found if conn.scoreboard is None else found - conn.scoreboard.sacked
    if conn.dupacks > 0:  # what they answer has left the network; before recovery: RFC 3042
        found -= min(conn.dupacks * conn.snd_mss, found)
    return found - seq_sub(conn.lost_until, conn.rtx_nxt)


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
    conn.ack_at = -1
    conn.time_wait_at = -1
    conn.keepalive_at = -1
    conn.ack_now = False
    conn.assembler = None
    conn.scoreboard = None
    conn.buffer.acknowledge(conn.buffer.length)


def free_space(conn: Connection) -> i64:
    """Return the octets of receive buffer that nothing occupies; data ahead of a gap lies in the window."""
    return max(conn.settings.rcv_buf - conn.rcv_queued, 0)


def send_room(conn: Connection) -> i64:
    """Return how many octets the owner may queue: what can be sent now, or one segment to probe with.

    More would only lie in our memory instead of in the upstream socket's, where it throttles the sender.
    What has arrived out of order has left the network and makes room for more (RFC 6675 §5, RFC 3042).
    """
    cwnd = conn.congestion.cwnd
    if conn.scoreboard is not None:
        cwnd += conn.scoreboard.sacked
        if conn.prr.is_on:
            cwnd = max(cwnd, conn.flight_size + conn.prr.room - conn.rack.lost_octets)
    else:
        cwnd += conn.dupacks * conn.snd_mss
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
