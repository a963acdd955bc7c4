"""One TCP flow: the client's connection on one side, the upstream's socket on the other.

``settle`` is the one place where bytes move: it is called once after whatever happened (segments, readiness,
deadlines) and pushes, pulls, passes on ends and resets, transmits, and schedules. How a flow begins is in
``opening``, how bytes move in ``relay``, and how it ends in ``ending``.
"""

import socket
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.budget import CALM, FULL
from tunproxy.flow.coding import Coding, await_words, pull_coded, push_coded
from tunproxy.flow.context import FlowContext
from tunproxy.flow.conversing import Talk, time_out
from tunproxy.flow.ending import hatch, wind_up
from tunproxy.flow.hearing import Hearing, hear
from tunproxy.flow.life import FlowLife
from tunproxy.flow.opening import failed, on_dialled
from tunproxy.flow.ports import (
    ERROR,
    HANGUP,
    PEER_HANGUP,
    READABLE,
    URGENT,
    WRITABLE,
    OpenRequest,
    Timed,
)
from tunproxy.flow.relay import on_broken, pull, push, shut_upstream
from tunproxy.tcp.active import abort
from tunproxy.tcp.autotune import FLOOR, footprint, give_up_ahead, grow, restore, shrink
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.deadline import next_deadline, on_deadline
from tunproxy.tcp.path_mtu import on_packet_too_big
from tunproxy.tcp.receive import receive
from tunproxy.tcp.state import CLOSED, SYN_RECEIVED, TIME_WAIT, has_all_data
from tunproxy.tcp.transmit import transmit
from tunproxy.wire.icmp_quote import TooBig
from tunproxy.wire.tcp import Segment


@final
@mypyc_attr(native_class=True)
class TcpFlow(Timed):
    """One flow in the table. It takes itself out of the table when both sides are done."""

    def __init__(self, key: bytes, conn: Connection, context: FlowContext, syn: bytes, now: Micros) -> None:
        super().__init__()
        self.key: Final = key
        self.conn: Final = conn
        self.began_at: Final = now
        self.context: Final = context
        self.syn: bytes = syn  # the frame that asked, until it is answered
        self.sock: socket.socket | None = None
        self.fd: int = -1
        self.request: OpenRequest | None = None  # somebody else is opening the upstream
        self.hearing: Hearing | None = None  # what the client says first will decide where it goes
        self.talk: Talk | None = None  # what is said to a proxy before the flow is open
        self.coding: Coding | None = None  # what is done to the stream on its way
        self.life: FlowLife | None = None  # where somebody watches, until it is over
        self.charged: i64 = 0  # octets that the budget has us down for
        self.pushes: i64 = 0  # 0, 1, or more
        self.is_embryo: bool = False  # among context.embryos
        self.is_listed: bool = False  # in the table
        self.is_open: bool = False  # the upstream is
        self.is_touched: bool = False  # among context.touched
        self.readable: bool = False
        self.writable: bool = False
        self.hung_up: bool = False  # the upstream has sent its last octet
        self.reads_large: bool = False
        self.reads_to_end: bool = False  # a short read does not mean that the socket is empty
        self.at_end: bool = False  # and we have read it
        self.is_shut: bool = False  # the client's last octet is with the upstream
        self.is_broken: bool = False  # the upstream takes nothing any more

    # what happens to it

    def on_segment(self, seg: Segment, now: Micros) -> None:
        """Process a segment; bytes move at the end of the batch, when settle is called."""
        context = self.context
        receive(self.conn, seg, now, context.sink)
        if not self.is_touched:
            self.is_touched = True
            context.touched.append(self)

    def on_too_big(self, report: TooBig, now: Micros) -> bool:
        """Process a router's word that a packet to the client was too big; return whether it was obeyed."""
        if not on_packet_too_big(self.conn, report.mtu, report.seq):
            return False
        if not self.is_touched:
            self.is_touched = True
            self.context.touched.append(self)
        return True

    def on_ready(self, events: i64, now: Micros) -> None:
        """Process a readiness report of the upstream's socket."""
        if self.fd < 0:
            return
        if not self.is_open:
            on_dialled(self, events, now)
            return
        self.note(events)
        if events & ERROR and self.at_end:  # no read will come that would tell
            on_broken(self)
            self.writable = True
        self.settle(now)

    def note(self, events: i64) -> None:
        """Remember what a report of the socket says; it comes only once.

        Errors and urgent data are what a read that brings less than it asked for does not tell: it stops
        before urgent data, which we have in its place in the stream (RFC 6093 §6).
        """
        if events & (READABLE | PEER_HANGUP | HANGUP | ERROR | URGENT):
            self.readable = True
            if events & PEER_HANGUP:
                self.hung_up = True
            if events & (HANGUP | ERROR | URGENT):
                self.reads_to_end = True
        if events & (WRITABLE | ERROR):
            self.writable = True

    def on_deadline(self, now: Micros) -> None:
        """Process timers of the connection, and go on with what had to make room for others."""
        talk = self.talk
        if talk is not None and talk.until <= now:
            self.talk = None
            time_out(self, talk)
            failed(self, talk.error)
            return
        if self.conn.state != CLOSED:
            on_deadline(self.conn, now, self.context.sink)
        self.settle(now)

    # what follows from it

    def settle(self, now: Micros) -> None:
        """Move what can be moved in both directions, send what is due, and end what has ended."""
        self.is_touched = False
        conn = self.conn
        context = self.context
        if self.is_embryo and conn.state != SYN_RECEIVED:
            hatch(self)
        if self.hearing is not None:
            hear(self, self.hearing, now)
        coding = self.coding
        if self.is_open:
            if coding is not None:
                if coding.patience >= 0:
                    await_words(self, coding, now)
                had = len(conn.rcv_queue) > 0
                push_coded(self, coding, now)
                if had and context.budget.level == CALM:
                    grow(conn, now)
                if self.readable or coding.has_more:
                    pull_coded(self, coding, now)
            else:
                if self.writable and len(conn.rcv_queue) > 0:
                    while self.writable and len(conn.rcv_queue) > 0:
                        push(self)
                    if context.budget.level == CALM:
                        grow(conn, now)
                if self.readable:
                    pull(self, now)
            if context.budget.level != CALM:
                self._make_room()
            elif conn.rcv_buf < conn.settings.rcv_buf:
                restore(conn)
            if conn.state != CLOSED:
                transmit(conn, now, context.sink)
            if self.is_broken and self.at_end and not self.is_shut and conn.buffer.length == 0:
                abort(conn, context.sink)
            if not self.is_shut and len(conn.rcv_queue) == 0 and has_all_data(conn.state):
                if coding is None or coding.is_done:
                    shut_upstream(self)
        elif conn.is_answered and conn.state != CLOSED:  # dialled for a cookie: the client may talk already
            if context.budget.level != CALM:
                self._make_room()
            transmit(conn, now, context.sink)
        self._charge()
        if conn.state == CLOSED or conn.state == TIME_WAIT:
            wind_up(self)
        if conn.state != CLOSED:
            due = next_deadline(conn)
            if self.talk is not None and (due < 0 or self.talk.until < due):
                due = self.talk.until
            if self.hearing is not None and self.hearing.until >= 0 and (due < 0 or self.hearing.until < due):
                due = self.hearing.until
            if coding is not None and coding.until >= 0 and coding.patience >= 0:
                if due < 0 or coding.until < due:
                    due = coding.until
            if due >= 0:
                context.poller.schedule(self, due)

    def shed(self) -> None:
        """Give up what the client will send again, because memory runs short."""
        self._make_room()
        self._charge()

    def _make_room(self) -> None:
        """Take no more than the least, also ahead of a gap; where memory is full, nothing there."""
        conn = self.conn
        shrink(conn)
        assembler = conn.assembler
        if assembler is not None and (assembler.held > FLOOR or self.context.budget.level == FULL):
            self.context.counters.octets_reneged += give_up_ahead(conn)

    def _charge(self) -> None:
        """Have the budget know what we hold."""
        held = footprint(self.conn)
        if self.coding is not None:
            held += self.coding.unsent_size
        if held != self.charged:
            self.context.budget.charge(held - self.charged)
            self.charged = held
