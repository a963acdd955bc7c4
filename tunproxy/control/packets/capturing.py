"""One capture in a worker: ships what it catches.

Packets go out in the order in which they passed. The first of a flow waits until it is known whether and
what is to be said beside it, and those after it wait with it; a FIN waits for the end of its flow. Nobody
waits long: HOLD at most, and not at all for the sake of words where much has gathered. What the supervisor
does not take stays here, up to ROOM; then packets are lost, and counted.
"""

import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from tunproxy.clock import Micros
from tunproxy.control.packets import shipping
from tunproxy.control.packets.marking import FlowMarker
from tunproxy.flow.ports import READABLE, WRITABLE, Timed
from tunproxy.loop.copying import OVERHEAD, UNWANTED, WANTED, Copied, Copier
from tunproxy.loop.dataplane import Dataplane

# our choices
ROOM: Final = 8 << 20  # octets that wait, of one capture
MUCH: Final = 1 << 20  # octets after which nobody waits for words
OUT: Final = 512 << 10  # octets that are on their way out
PIECES: Final = 256  # in one call of the kernel
AT_ONCE: Final = 256  # packets in one turn
TICK: Final = 50_000  # µs
HOLD: Final = 1_000_000_000  # ns: for a decision, or a process
HOLD_END: Final = 250_000_000  # ns: for the end of a flow
MAX_NAMES: Final = 100_000  # that are remembered to have been shipped

_FIN_OR_RST: Final = 5

_log: Final = logging.getLogger(__name__)


class Capture(Timed):
    """Ships over sock, a non-blocking stream, until the other end is closed. Then it calls closed."""

    def __init__(
        self,
        dataplane: Dataplane,
        sock: socket.socket,
        marker: FlowMarker,
        snaplen: int,
        closed: Callable[["Capture"], None],
    ) -> None:
        super().__init__()
        self.copier: Final = Copier(marker, dataplane, self, snaplen, ROOM)
        marker.copier = self.copier
        self._dataplane: Final = dataplane
        self._sock: Final = sock
        self._marker: Final = marker
        self._closed: Final = closed
        self._queue: Final[deque[Copied]] = deque()
        self._names: Final[set[tuple[bytes, str]]] = set()
        self._out: Final[deque[bytes | memoryview]] = deque()
        self._out_octets = 0
        self._shipped = 0
        self._lost_before = 0
        self._is_ending = False  # nobody wants more than there is
        self._is_drained = False
        self._lost = 0
        self._is_closed = False
        self._events = int(READABLE)
        dataplane.watch(sock.fileno(), self, self._events)

    def begin(self, now: Micros) -> None:
        """Ship from now on."""
        self._dataplane.schedule(self, now + TICK)

    def on_deadline(self, now: Micros) -> None:
        if self._is_closed:
            return
        try:
            self._ship()
        except Exception:  # must not end the packet path
            _log.exception("a capture has failed")
            self.close()
        if not self._is_closed:
            self._dataplane.schedule(self, now + TICK)

    def on_ready(self, events: int, now: Micros) -> None:
        if self._is_closed:
            return
        if not self._is_ending:
            try:
                self._is_ending = not self._sock.recv(64)
            except BlockingIOError:
                pass
            except OSError:
                self.close()
                return
        self.on_deadline(now)

    def close(self) -> None:
        """End it at once, after what can be sent has been sent. May be called again."""
        if not self._is_closed:
            self._is_closed = True
            self._dataplane.forget(self._sock.fileno())
            self._sock.close()
            self._closed(self)

    def finish(self) -> None:
        """End it: ship what there is, as far as it is taken at once."""
        self._is_ending = True
        before = -1
        while not self._is_closed and before != self._shipped:
            before = self._shipped
            self.on_deadline(0)
        self.close()

    def _ship(self) -> None:
        self._marker.look_again()
        self._dataplane.yield_loop()  # processes may be searched for
        if not self._is_drained:
            self._queue.extend(self.copier.hand_out())
            self._lost = int(self.copier.lost)
            self._is_drained = self._is_ending  # else it would never end while packets come
        now = time.time_ns()
        self._fill(now)
        is_sent = self._send()
        if self._is_closed:
            return
        if is_sent and self._queue and self._is_ready(self._queue[0], now):
            self._dataplane.later(self)  # in the next turn: other flows have theirs in between
        if self._is_ending and not self._queue and not self._out:
            counts = shipping.counts(self._shipped + self._lost, self._lost)
            try:
                self._sock.send(counts)
            except OSError:
                pass  # whoever wanted them has gone
            self.close()
            return
        events = (0 if self._is_ending else int(READABLE)) | (int(WRITABLE) if self._out else 0)
        if events != self._events:
            self._events = events
            self._dataplane.watch(self._sock.fileno(), self, events)

    def _fill(self, now: int) -> None:
        """Put into words what may go, while there is room on the way out."""
        queue, marker = self._queue, self._marker
        end = self._shipped + AT_ONCE
        while queue and self._out_octets < OUT and self._shipped < end:
            copied = queue[0]
            mark = copied.mark
            if not self._is_ready(copied, now):
                return
            queue.popleft()
            mark.waiting -= 1
            self.copier.let_go(len(copied.data) + int(OVERHEAD))
            self._lost_before += int(copied.lost)
            if mark.wanted != WANTED:  # or not known to be, in all this time: later packets may be
                continue
            named = marker.name(mark)
            if named is not None and named not in self._names:
                if len(self._names) > MAX_NAMES:
                    self._names.clear()
                self._names.add(named)
                self._put(shipping.name(*named))
            first, last = marker.comments(mark)
            for piece in shipping.packet(
                copied.at, copied.is_up, copied.data, int(copied.length), self._lost_before, first, last
            ):
                self._put(piece)
            self._lost_before = 0
            self._shipped += 1

    def _is_ready(self, copied: Copied, now: int) -> bool:
        mark = copied.mark
        if mark.wanted == UNWANTED or self._is_ending:
            return True
        if mark.wanted == WANTED and self.copier.held > MUCH:
            return True
        if not mark.is_settled:
            return now - copied.at >= HOLD
        if mark.life is not None and mark.life.ended_at < 0 and _says_goodbye(copied.data):
            return now - copied.at >= HOLD_END
        return True

    def _put(self, piece: bytes) -> None:
        self._out.append(piece)
        self._out_octets += len(piece)

    def _send(self) -> bool:
        """Send what is on its way out; return whether all of it has gone."""
        out = self._out
        while out:
            try:
                sent = self._sock.sendmsg([out[at] for at in range(min(len(out), PIECES))])
            except BlockingIOError:
                return False
            except OSError:  # nobody is there any more
                self.close()
                return False
            self._out_octets -= sent
            while sent > 0:
                size = len(out[0])
                if size > sent:
                    out[0] = memoryview(out[0])[sent:]
                    break
                out.popleft()
                sent -= size
        return True


def _says_goodbye(packet: bytes) -> bool:
    """Tell whether a packet is a plain TCP segment with FIN or RST."""
    if len(packet) > 33 and packet[0] == 0x45 and packet[9] == 6:
        return bool(packet[33] & _FIN_OR_RST)
    return len(packet) > 53 and packet[0] >> 4 == 6 and packet[6] == 6 and bool(packet[53] & _FIN_OR_RST)
