"""RFC 3168, watched from outside: what a host must echo, what it may mark as ECN-capable, when it reduces.

One ``Marks`` watches one host: the segments that it takes, and the frames that it sends. It knows nothing of
how the engine does it. What a segment does to a host is not always clear from outside (an old duplicate
counts for nothing); then an echo is allowed and not required.
"""

import struct
from collections.abc import Iterator

from tests.sim.link import ecn_field
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.seq import seq_lt, seq_sub
from tunproxy.tcp.state import ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2
from tunproxy.wire.tcp import ACK, CWR, ECE, RST, SYN, Segment
from tunproxy.wire.vnet import VNET_LEN

OFFER = ECE | CWR
RECEIVING = (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2)
CE = 3


class Marks:
    """What one host has seen and said of ECN."""

    def __init__(self) -> None:
        self.said_yes = False  # in a SYN: an offer, or the answer to one
        self.heard_yes = False
        self.said_no = False  # in a SYN without, or by a SYN, ACK without
        self.heard_no = False
        self.echoed = 0
        self.reductions = 0
        self._owes_echo = False  # if we have said yes too: the peer's first SYN was a yes
        self._must_echo = False
        self._may_echo = False
        self._top = -1  # behind the newest octet sent
        self._cut_at = -1  # _top when an echo made the window smaller
        self._before = (0, 0, False, 0)  # cwnd, snd_una, in recovery, D-SACKs

    @property
    def is_agreed(self) -> bool:
        """Whether both have said yes and neither has said no (§6.1.1)."""
        return self.said_yes and self.heard_yes and not self.said_no and not self.heard_no

    def before(self, conn: Connection, seg: Segment) -> None:
        """Look at a segment that the host is about to take."""
        flags = seg.flags
        dsacks = 0 if conn.recovery is None else conn.recovery.dsacks
        self._before = (conn.congestion.cwnd, conn.snd_una, conn.in_recovery, dsacks)
        if flags & SYN:
            self._hear_syn(flags)
            return
        if flags & RST or not flags & ACK or seg.length == 0 or not self.said_yes:
            return
        is_clear = self._is_clearly_new(conn, seg)
        if flags & CWR:
            self._must_echo = False
            self._may_echo = self._may_echo and not is_clear
        if ecn_field(seg.frame) == CE:
            self._may_echo = True
            self._must_echo = self._must_echo or (is_clear and self._owes_echo)

    def hear_first(self, seg: Segment) -> None:
        """Look at the SYN for which there is no connection yet."""
        self._hear_syn(seg.flags)

    def _hear_syn(self, flags: int) -> None:
        is_yes = flags & OFFER == (ECE if flags & ACK else OFFER)
        self._owes_echo = self._owes_echo or (is_yes and not self.heard_no)
        self.heard_yes = self.heard_yes or is_yes
        self.heard_no = self.heard_no or not is_yes

    @staticmethod
    def _is_clearly_new(conn: Connection, seg: Segment) -> bool:
        """Tell whether nothing keeps the host from taking at least the first octet, or those before it."""
        start = seq_sub(seg.seq, conn.rcv_nxt)
        return (
            conn.state in RECEIVING
            and not (conn.ts_on and seg.ts_val >= 0 and seq_lt(seg.ts_val, conn.ts_recent))
            and start < seq_sub(conn.rcv_adv, conn.rcv_nxt)
            and seq_sub(seg.seq + seg.length, conn.rcv_nxt) > 0
            and not seq_lt(conn.snd_nxt, seg.ack)
            and not seq_lt(seg.ack, conn.snd_una)
        )

    def after(self, conn: Connection, seg: Segment) -> Iterator[str]:
        """Yield what was wrong with how the host has taken the segment (§6.1.2)."""
        before, una, was_recovering, dsacks = self._before
        cwnd = conn.congestion.cwnd
        if not seg.flags & ECE or seg.flags & (SYN | RST) or not self.is_agreed or was_recovering:
            return
        if seq_lt(seg.ack, una) or seq_lt(conn.snd_nxt, seg.ack):
            return  # it says nothing
        if conn.recovery is not None and conn.recovery.dsacks != dsacks:
            return  # a reduction may have been taken back
        if cwnd > before and not conn.in_recovery:
            yield f"the window grew from {before} to {cwnd} by an echo"
        if cwnd >= before or conn.in_recovery:
            return
        if self._cut_at >= 0 and not seq_lt(self._cut_at, seg.ack):
            yield "the window was reduced twice for echoes of one window of data"
        self._cut_at = conn.snd_nxt
        self.reductions += 1

    def sent(self, frame: bytes) -> Iterator[str]:
        """Yield what is wrong with a frame that the host sends."""
        packet_at = VNET_LEN
        start = packet_at + (40 if frame[packet_at] >> 4 == 6 else 20)
        seq, off, flags = struct.unpack_from("!I4xBB", frame, start + 4)
        size = len(frame) - start - (off >> 4) * 4
        if flags & RST:
            return
        if flags & SYN:
            is_yes = flags & OFFER == (ECE if flags & ACK else OFFER)
            self.said_yes = self.said_yes or is_yes
            self.said_no = self.said_no or not is_yes
            if is_yes and flags & ACK and not self.heard_yes:
                yield "yes to an offer that nobody made"
            self._top = (seq + 1) % 2**32
            return
        field = ecn_field(frame)
        is_new = size > 0 and seq_sub(seq, self._top) >= 0
        if field and not self.is_agreed:
            yield "ECN-capable where it was not agreed on"
        if field and not is_new:
            yield "what is sent again is ECN-capable"
        if is_new and not field and self.is_agreed:
            yield "new data is not ECN-capable"
        if flags & CWR and not is_new:
            yield "CWR on what is not new"
        if flags & ECE and not self._may_echo:
            yield "an echo of nothing"
        if self._must_echo and not flags & ECE:
            yield "a mark is not echoed"
        self.echoed += bool(flags & ECE)
        end = (seq + size) % 2**32
        if seq_sub(end, self._top) > 0:
            self._top = end
