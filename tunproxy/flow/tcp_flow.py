"""One TCP flow: the client's connection on one side, the upstream's socket on the other.

    client ─ device ─▶ receive ─▶ rcv_queue ─ _push ─▶ socket ─▶ target
    client ◀ device ─ transmit ◀── buffer ◀── _pull ── socket ◀─ target

``settle`` is the one place where bytes move: it is called once after whatever happened (segments, readiness,
deadlines) and pushes, pulls, passes on ends and resets, transmits, and schedules. A FIN on one side is a
FIN on the other, a reset a reset. What the upstream does not take stays in rcv_queue and closes the
client's window; what the client does not take stays in the upstream's socket.
"""

import errno
import os
import socket
import struct
from collections import deque
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import (
    EDGE,
    ERROR,
    HANGUP,
    PEER_HANGUP,
    READABLE,
    URGENT,
    WRITABLE,
    FrameSink,
    Opener,
    OpenRequest,
    Poller,
    Timed,
)
from tunproxy.flow.small_reads import LARGE, SmallReads
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.tcp.active import abort, close, queue, took
from tunproxy.tcp.connection import FINISHED, RESET_BY_US, Connection, close_down, send_room
from tunproxy.tcp.deadline import next_deadline, on_deadline
from tunproxy.tcp.passive import accept, refuse
from tunproxy.tcp.path_mtu import on_packet_too_big
from tunproxy.tcp.receive import receive
from tunproxy.tcp.state import CLOSED, SYN_RECEIVED, TIME_WAIT, has_all_data
from tunproxy.tcp.transmit import transmit
from tunproxy.wire.icmp_error import emit_unreachable, unreachable_code
from tunproxy.wire.icmp_quote import TooBig
from tunproxy.wire.ip import IpView, parse_ip
from tunproxy.wire.tcp import Segment
from tunproxy.wire.vnet import VNET_LEN

_TCP: Final = int(socket.IPPROTO_TCP)
_TCP_NODELAY: Final = int(socket.TCP_NODELAY)
WATCHED: Final[i64] = READABLE | WRITABLE | PEER_HANGUP | URGENT | EDGE
_EINPROGRESS: Final = errno.EINPROGRESS  # a constant of ours costs nothing, a module's attribute a look-up
os_read: Final = os.read
os_write: Final = os.write
os_writev: Final = os.writev

# our choices
PULLS: Final = 2  # reads of one flow before the others have their turn
READ_BURSTS: Final[i64] = 4  # super-packets to read at once
MAX_WAITING: Final = 8192  # a flow in TIME-WAIT costs a kilobyte and guards against next to nothing here
MOST_PIECES: Final = 512  # the kernel takes 1024 (IOV_MAX)
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends a reset


@final
@mypyc_attr(native_class=True)
class FlowContext:
    """What all TCP flows of one stack share."""

    def __init__(self, sink: FrameSink, poller: Poller, counters: Counters, opener: Opener) -> None:
        self.sink: Final = sink
        self.poller: Final = poller
        self.counters: Final = counters
        self.opener: Final = opener
        self.flows: Final[dict[bytes, TcpFlow]] = {}
        self.touched: list[TcpFlow] = []  # got segments in this batch, not settled yet
        self.embryos: Final[dict[bytes, TcpFlow]] = {}  # the client has proved nothing yet, oldest first
        self.live: i64 = 0  # flows that hold a descriptor
        self.small_reads: Final = SmallReads(LARGE)
        self.waiting: Final[deque[TcpFlow]] = deque()  # in TIME-WAIT or just out of it, oldest first


@final
@mypyc_attr(native_class=True)
class TcpFlow(Timed):
    """One flow in the table. It takes itself out of the table when both sides are done."""

    def __init__(self, key: bytes, conn: Connection, context: FlowContext, syn: bytes, now: Micros) -> None:
        super().__init__()
        self.key: Final = key
        self.conn: Final = conn
        self.began_at: Final = now
        self._is_embryo: bool = False  # among context.embryos
        self._context: Final = context
        self._syn: bytes = syn  # the frame that asked, until it is answered
        self._sock: socket.socket | None = None
        self._fd: int = -1
        self._is_open: bool = False
        self._is_listed: bool = False  # in the table
        self._request: OpenRequest | None = None  # somebody else is opening the upstream
        self._readable: bool = False
        self._writable: bool = False
        self._hung_up: bool = False  # the upstream has sent its last octet
        self._reads_large: bool = False
        self._reads_to_end: bool = False  # a short read does not mean that the socket is empty
        self._at_end: bool = False  # and we have read it
        self._shut: bool = False  # the client's last octet is with the upstream
        self._is_broken: bool = False  # the upstream takes nothing any more
        self._is_touched: bool = False
        self._pushes: i64 = 0  # 0, 1, or more

    # opening

    def join(self) -> None:
        """Enter the table; as an embryo, unless the client has brought back a cookie."""
        self._context.flows[self.key] = self
        self._is_listed = True
        if self.conn.state == SYN_RECEIVED:
            self._is_embryo = True
            self._context.embryos[self.key] = self

    def dial(self, sock: socket.socket, address: tuple[str, int], now: Micros) -> None:
        """Connect sock, which this flow owns from now on, to address, and answer the client accordingly."""
        self._take(sock)
        error = sock.connect_ex(address)
        if error == 0 or error == _EINPROGRESS:  # the report that it is writable comes in either case
            self._context.poller.watch(self._fd, self, WATCHED)
        else:
            self.failed(error)

    def ask(self, info: FlowInfo, verdict: Verdict) -> None:
        """Have somebody else open the upstream, and answer the client accordingly once he has."""
        request = _Request(self)
        self._request = request
        self._context.opener.open(info, verdict, request)

    def opened(self, sock: socket.socket, now: Micros) -> None:
        """Take over a connected socket that somebody opened for this flow."""
        self._request = None
        self._take(sock)
        self._context.poller.watch(self._fd, self, WATCHED)
        self._on_connected(now)

    def failed(self, error: int) -> None:
        """Answer the client as the target answered, or would have: refused, unreachable, or silent.

        A client that has got a cookie believes to be connected: all that is left is a reset.
        """
        context = self._context
        context.counters.flows_refused += 1
        self._request = None
        conn = self.conn
        if error == errno.ECONNREFUSED or error == errno.ECONNRESET or conn.is_answered:
            refuse(conn, context.sink)
        elif conn.state != CLOSED:
            view = IpView()
            parse_ip(self._syn, VNET_LEN, len(self._syn), view)
            code = unreachable_code(view.is_ipv6, error)
            frame = emit_unreachable(conn.settings.scratch, self._syn, view, code) if code >= 0 else b""
            if len(frame) > 0:
                context.sink.write(frame)
            close_down(conn, RESET_BY_US)
        self._leave()

    def _take(self, sock: socket.socket) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._context.live += 1

    def _on_connected(self, now: Micros) -> None:
        self._context.counters.flows_opened += 1
        self._is_open = True
        self._syn = b""
        if not self.conn.is_answered:
            accept(self.conn, now, self._context.sink)
        self.settle(now)

    # what happens to it

    def on_segment(self, seg: Segment, now: Micros) -> None:
        """Process a segment; bytes move at the end of the batch, when settle is called."""
        receive(self.conn, seg, now, self._context.sink)
        if not self._is_touched:
            self._is_touched = True
            self._context.touched.append(self)

    def on_too_big(self, report: TooBig, now: Micros) -> bool:
        """Process a router's word that a packet to the client was too big; return whether it was obeyed."""
        if not on_packet_too_big(self.conn, report.mtu, report.seq):
            return False
        if not self._is_touched:
            self._is_touched = True
            self._context.touched.append(self)
        return True

    def on_ready(self, events: i64, now: Micros) -> None:
        """Process a readiness report of the upstream's socket."""
        if self._fd < 0:
            return
        if not self._is_open:
            self._on_dialled(events, now)
            return
        self._note(events)
        if events & ERROR and self._at_end:  # no read will come that would tell
            self._on_broken()
            self._writable = True
        self.settle(now)

    def _note(self, events: i64) -> None:
        """Remember what a report of the socket says; it comes only once.

        Errors and urgent data are what a read that brings less than it asked for does not tell: it stops
        before urgent data, which we have in its place in the stream (RFC 6093 §6).
        """
        if events & (READABLE | PEER_HANGUP | HANGUP | ERROR | URGENT):
            self._readable = True
            if events & PEER_HANGUP:
                self._hung_up = True
            if events & (HANGUP | ERROR | URGENT):
                self._reads_to_end = True
        if events & (WRITABLE | ERROR):
            self._writable = True

    def _on_dialled(self, events: i64, now: Micros) -> None:
        sock = self._sock
        assert sock is not None
        if events & (ERROR | HANGUP):
            self.failed(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET)
        elif events & WRITABLE:
            self._note(events)
            self._on_connected(now)

    def on_deadline(self, now: Micros) -> None:
        """Process timers of the connection, and go on with what had to make room for others."""
        if self.conn.state != CLOSED:
            on_deadline(self.conn, now, self._context.sink)
        self.settle(now)

    # moving bytes

    def settle(self, now: Micros) -> None:
        """Move what can be moved in both directions, send what is due, and end what has ended."""
        self._is_touched = False
        conn = self.conn
        if self._is_embryo and conn.state != SYN_RECEIVED:
            self._hatch()
        if self._is_open:
            while self._writable and len(conn.rcv_queue) > 0:
                self._push()
            if self._readable:
                self._pull(now)
            if conn.state != CLOSED:
                transmit(conn, now, self._context.sink)
            if self._is_broken and self._at_end and not self._shut and conn.buffer.length == 0:
                abort(conn, self._context.sink)
            if not self._shut and len(conn.rcv_queue) == 0 and has_all_data(conn.state):
                self._shut_upstream()
        elif conn.is_answered and conn.state != CLOSED:  # dialled for a cookie: the client may talk already
            transmit(conn, now, self._context.sink)
        if conn.state == CLOSED or conn.state == TIME_WAIT:
            self._wind_up()
        if conn.state != CLOSED:
            due = next_deadline(conn)
            if due >= 0:
                self._context.poller.schedule(self, due)

    def _push(self) -> None:
        """Hand the upstream what the client sent, as much as it takes."""
        conn = self.conn
        pieces = conn.rcv_queue
        if self._pushes < 2:
            self._count_push()
        try:
            if len(pieces) == 1:
                count = i64(os_write(self._fd, pieces[0]))
            else:
                count = i64(
                    os_writev(self._fd, pieces if len(pieces) < MOST_PIECES else pieces[:MOST_PIECES])
                )
        except BlockingIOError:
            self._writable = False
            return
        except OSError:
            self._on_broken()
            return
        took(conn, count)
        if conn.rcv_queued == 0:
            pieces.clear()
            return
        done = 0
        while count >= i64(len(pieces[done])):
            count -= len(pieces[done])
            done += 1
        del pieces[:done]
        if count > 0:
            pieces[0] = memoryview(pieces[0])[count:]
            self._writable = False
        else:  # more pieces than one call takes: no event would tell us to go on
            self._context.poller.later(self)

    def _count_push(self) -> None:
        """Turn Nagle's algorithm off with the second push.

        It holds back only what follows unacknowledged octets, and many a connection sends a single request.
        """
        if self._pushes == 1 and self._sock is not None:
            try:
                self._sock.setsockopt(_TCP, _TCP_NODELAY, 1)
            except OSError:
                pass  # a socket that somebody opened need not be TCP's
        self._pushes += 1

    def _pull(self, now: Micros) -> None:
        """Take from the upstream what the client has room for, PULLS reads at most.

        A read that brings less than it asked for has emptied the socket, which saves the read that would
        say so; only urgent data and errors are not told that way.
        """
        conn = self.conn
        for _ in range(PULLS):
            size = min(send_room(conn), READ_BURSTS * conn.snd_burst)
            if size <= 0 or conn.fin_queued or conn.state == CLOSED:
                return
            is_small = not self._reads_large and size >= LARGE
            try:
                if is_small:
                    size = LARGE
                    data = self._context.small_reads.read(self._fd)
                else:
                    data = os_read(self._fd, size)
            except BlockingIOError:
                self._readable = False
                return
            except OSError:
                abort(conn, self._context.sink)
                return
            count = i64(len(data))
            if count == 0:
                self._on_end()
                return
            queue(conn, data)
            self._reads_large = count >= LARGE
            if count < size and not self._reads_to_end:
                self._readable = False
                if self._hung_up:
                    self._on_end()
                return
            transmit(conn, now, self._context.sink)
        self._context.poller.later(self)

    def _on_end(self) -> None:
        """Pass the upstream's end on: a FIN, or a reset where it took no more from the client."""
        self._at_end = True
        self._readable = False
        if self._is_broken:
            abort(self.conn, self._context.sink)
        else:
            close(self.conn)

    def _on_broken(self) -> None:
        """Stop sending to an upstream that takes nothing any more; what it has sent is still read."""
        conn = self.conn
        self._is_broken = True
        self._writable = False
        self._readable = True
        took(conn, conn.rcv_queued)
        conn.rcv_queue.clear()

    def _shut_upstream(self) -> None:
        """Pass the client's FIN on; where the upstream has ended too, closing does that."""
        self._shut = True
        if not self._at_end and self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:  # already reset: reading tells
                self._readable = True

    # ending

    def _wind_up(self) -> None:
        """Let go of the upstream once nothing more can move, and of the flow once the client's side ended."""
        conn = self.conn
        is_reset = conn.state == CLOSED and conn.closed_why != FINISHED
        if is_reset:
            self._reset_upstream()
        elif len(conn.rcv_queue) == 0 or self._is_broken:
            self._close_upstream()
        if conn.state == CLOSED and self._fd < 0:
            self._leave()

    def _reset_upstream(self) -> None:
        """Close so that the target sees a reset, as the client sent one or vanished.

        Not where the client had said everything: its last octets may still be on their way, and a reset would
        drop them. The kernel resets by itself what the target sends to a closed socket.
        """
        sock = self._sock
        if sock is not None and self._is_open and not self._shut:
            _reset_on_close(sock)
        self._close_upstream()

    def _close_upstream(self) -> None:
        if self._request is not None:
            self._context.opener.cancel(self._request)
            self._request = None
        if self._sock is not None:
            self._context.poller.discard(self._sock)
            self._sock = None
            self._fd = -1
            self._context.live -= 1
            if self.conn.state == TIME_WAIT:
                self._linger()

    def _linger(self) -> None:
        """Join the flows in TIME-WAIT; where they are too many, the oldest ends early."""
        waiting = self._context.waiting
        waiting.append(self)
        while len(waiting) > MAX_WAITING or waiting[0].conn.state == CLOSED:
            waiting.popleft().drop()

    def _leave(self) -> None:
        """Take the flow out of the table."""
        self._close_upstream()
        context = self._context
        if self._is_embryo:
            self._hatch()
        if self._is_listed:
            self._is_listed = False
            del context.flows[self.key]
            context.counters.retransmits += self.conn.retransmits

    def drop(self) -> None:
        """End the flow from our side with a reset to both."""
        abort(self.conn, self._context.sink)
        self._wind_up()

    def evict(self) -> None:
        """End an embryo at once: a reset for the target, for the client silence; he may ask again.

        Does nothing but strike it off the list where its client's ACK has come in this very batch.
        """
        self._hatch()
        conn = self.conn
        if conn.state != SYN_RECEIVED:
            return
        context = self._context
        context.counters.flows_evicted += 1
        close_down(conn, RESET_BY_US)
        sock = self._sock
        if sock is not None:  # not discarded, which would hold the descriptor a while longer
            self._sock = None
            context.poller.forget(self._fd)
            self._fd = -1
            context.live -= 1
            _reset_on_close(sock)
            sock.close()
        self._leave()

    def _hatch(self) -> None:
        """Be no embryo any more."""
        self._is_embryo = False
        del self._context.embryos[self.key]


def _reset_on_close(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass  # the system has already given the connection up


@final
@mypyc_attr(native_class=True)
class _Request(OpenRequest):
    """What an opener holds of a flow that waits for it."""

    def __init__(self, flow: TcpFlow) -> None:
        self._flow: Final = flow

    def opened(self, sock: socket.socket) -> None:
        self._flow.opened(sock, clock.now())

    def failed(self, error: int) -> None:
        self._flow.failed(error)
