"""One engine against a recorded kernel, on the virtual clock.

The kernel's packets come as they were recorded, octet for octet and in their order; our engine and our
application answer them as they do today. Our initial number and the clock of our timestamps are those of the
recording, so that the kernel's acknowledgments and echoes fit.

What we send, and when, may differ from what we sent then; the kernel cannot answer to that any more. So a
packet comes at its time or later: not before we have sent all that it acknowledges, by number or by SACK
block, and have opened the window that its octets need. The kernel sent it after both, too. When it has to
wait, all that follow come as much later, as if the path had been that much longer.

An engine with a smaller congestion window than the recorded one may send less at a time than the kernel then
acknowledged at once, and wait for acknowledgments that are in no recording. After a while a packet without
data comes for it that acknowledges just what we have sent, as from a kernel that had got that and no more.
How often, is counted (``lessened``); an engine with the recorded settings needs none.
"""

import struct

from tests.sim.conversations import ALL
from tests.sim.link import Link, LinkPlan
from tests.sim.recording import Figures, first_of_ours, our_host, packets
from tests.sim.timeline import Timeline, replay_line
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import CLOSE_NAMES
from tunproxy.tcp.seq import seq_sub
from tunproxy.tcp.state import CLOSED, ESTABLISHED, NAMES
from tunproxy.wire.tcp import ACK, FIN, RST, SYN
from tunproxy.wire.vnet import DATA_VALID, PLAIN, VNET_LEN

HOUR = 3600 * 1_000_000
PATIENCE = 100_000  # microseconds that a packet waits before less is acknowledged
VERIFIED = bytes((DATA_VALID,)) + bytes(VNET_LEN - 1)


class Packet:
    """A packet of the kernel's, as far as it matters here. One that was damaged claims nothing."""

    def __init__(self, at: int, octets: bytes, head: bytes) -> None:
        self.at = at
        self.frame = head + octets
        self._start = start = 40 if octets[0] >> 4 == 6 else 20
        self._octets = octets
        seq, ack, off, flags = struct.unpack_from("!IIBB", octets, start + 4)
        self.data_at = start + (off >> 4) * 4
        self.flags = flags
        self.end = (seq + len(octets) - self.data_at + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFF_FFFF
        self.acknowledges = [ack] if flags & ACK else []
        self.acknowledges += self._sacked()

    def _sacked(self) -> list[int]:
        found = []
        at = self._start + 20
        while at + 1 < min(self.data_at, len(self._octets)) and self._octets[at]:
            kind, size = self._octets[at], max(self._octets[at + 1], 2)
            if kind == 1:
                size = 1
            elif kind == 5:
                block = self._octets[at + 2 : at + size]
                found += [right for _, right in struct.iter_unpack("!II", block[: len(block) // 8 * 8])]
            at += size
        return found

    def with_less(self, ack: int) -> bytes:
        """Return a frame that acknowledges up to ack only, without SACK blocks or data."""
        packet = bytearray(self._octets[: self.data_at])
        if packet[0] >> 4 == 6:
            struct.pack_into("!H", packet, 4, len(packet) - 40)
        else:
            struct.pack_into("!H", packet, 2, len(packet))
            packet[10:12] = b"\0\0"
            total = sum(struct.unpack("!10H", packet[:20]))
            struct.pack_into("!H", packet, 10, ~(total % 0xFFFF) & 0xFFFF)
        struct.pack_into("!I", packet, self._start + 8, ack)
        packet[self._start + 13] = ACK
        at = self._start + 20
        while at < self.data_at and packet[at]:
            size = 1 if packet[at] == 1 else packet[at + 1]
            if packet[at] == 5:
                packet[at : at + size] = b"\1" * size
            at += size
        return VERIFIED + bytes(packet)


class Replay(Timeline):
    """One conversation of the recording."""

    def __init__(
        self,
        name: str,
        figures: Figures,
        log: list[str] | None = None,
        *,
        cwnd: int = UNTHROTTLED,
        tso: bool = True,
    ) -> None:
        super().__init__(log)
        conversation = ALL[name]
        head = VERIFIED if conversation.keeps_whole else PLAIN
        self._name = name
        self._figures = figures
        self._packets = [Packet(at, octets, head) for at, octets in packets(name)]
        self.host = our_host(self, conversation, cwnd=cwnd, tso=tso)
        mtu, whole = conversation.mtu, conversation.keeps_whole
        nowhere = LinkPlan(loss=1.0, mtu=mtu, keeps_whole=whole)  # the kernel's answers are recorded
        self.host.link = Link(nowhere, 0, lambda frame, at: None)
        self.lag = 0
        self.refused = 0
        self.lessened = 0
        if conversation.kernel_listens:
            self.at(first_of_ours(name), self.host.open)

    def on_refused(self, frame: bytes, reason: int) -> None:
        self.refused += 1

    def title(self) -> list[str]:
        lines = [f"conversation {self._name!r}"]
        lines.append(replay_line("tests/sim/test_recorded.py", f"--conversation {self._name}"))
        lines.append(f"{len(self._packets)} packets of the kernel's are left, {self.lag} µs late")
        conn = self.host.conn
        if conn is not None:
            lines.append(f"we: {NAMES[conn.state]}, {CLOSE_NAMES[conn.closed_why]}")
        return lines

    def run(self) -> None:
        """Play it to its end, and compare with what was recorded."""
        limit = self.now + HOUR
        asked_at = -1
        while self._packets or self.events:
            if self._packets:
                packet = self._packets[0]
                due = max(packet.at + self.lag, self.now)
                following = self.events[0][0] if self.events else limit
                if self._may_come(packet):
                    if due <= following:
                        self.now, self.lag = due, due - packet.at
                        self._arrive(packet.frame)
                        del self._packets[0]
                        continue
                elif min(following, limit) > max(due, asked_at) + PATIENCE:
                    self.now = asked_at = max(due, asked_at) + PATIENCE
                    self._arrive_with_less(packet)
                    continue
            self.step(limit)
        self._compare()

    def _arrive(self, frame: bytes) -> None:
        self.remember(1 - self.host.side, frame)
        self.host.on_arrival(frame)

    def _arrive_with_less(self, packet: Packet) -> None:
        conn = self.host.conn
        assert conn is not None
        under_way = seq_sub(conn.snd_nxt, conn.snd_una) > 0
        self.check(under_way, "we neither send what was acknowledged nor open the window")
        self.lessened += 1
        self._arrive(packet.with_less(conn.snd_nxt))

    def _may_come(self, packet: Packet) -> bool:
        """Tell whether the kernel could have sent the packet by now, as far as it depends on us."""
        conn = self.host.conn
        if conn is None or conn.state == CLOSED or packet.flags & RST:
            return True
        if any(seq_sub(number, conn.snd_nxt) > 0 for number in packet.acknowledges):
            return False
        return conn.state < ESTABLISHED or seq_sub(packet.end, conn.rcv_adv) <= 1

    def _compare(self) -> None:
        figures, conn, app = self._figures, self.host.conn, self.host.app
        assert conn is not None
        self.check(conn.state == CLOSED, "it has not ended")
        closed = CLOSE_NAMES[conn.closed_why]
        self.check(closed == figures.closed, f"it ended {closed}, not {figures.closed}")
        self.check(self.refused == figures.refused, f"{self.refused} packets refused, not {figures.refused}")
        received = app.received if app is not None else 0
        self.check(received == figures.received, f"{received} octets arrived, not {figures.received}")
        if app is not None and received == figures.sent:
            self.check(app.digest.hexdigest() == figures.sha256, "what arrived is not what was sent")
