"""Moving bytes between a flow's two halves, and passing on that one of them has ended.

    client ─ device ─▶ receive ─▶ rcv_queue ─ push ─▶ socket ─▶ target
    client ◀ device ─ transmit ◀── buffer ◀── pull ── socket ◀─ target

A FIN on one side is a FIN on the other. What the upstream does not take stays in rcv_queue and closes the
client's window; what the client does not take stays in the upstream's socket.
"""

import os
import socket
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.flow.budget import CALM
from tunproxy.flow.life import lost
from tunproxy.flow.small_reads import LARGE
from tunproxy.flow.watching import note_reason, show_up
from tunproxy.tcp.active import abort, close, queue, took
from tunproxy.tcp.autotune import scant_room
from tunproxy.tcp.connection import send_room
from tunproxy.tcp.state import CLOSED, CLOSING
from tunproxy.tcp.transmit import transmit

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

_TCP: Final = int(socket.IPPROTO_TCP)
_TCP_NODELAY: Final = int(socket.TCP_NODELAY)
_SHUT_WR: Final = int(socket.SHUT_WR)
os_read: Final = os.read
os_write: Final = os.write
os_writev: Final = os.writev

# our choices
PULLS: Final = 2  # reads of one flow before the others have their turn
READ_BURSTS: Final[i64] = 4  # super-packets to read at once
MOST_PIECES: Final = 512  # the kernel takes 1024 (IOV_MAX)


def push(flow: "TcpFlow") -> None:
    """Hand the upstream what the client sent, as much as it takes."""
    conn = flow.conn
    pieces = conn.rcv_queue
    if flow.pushes < 2:
        _count_push(flow)
    try:
        if len(pieces) == 1:
            count = i64(os_write(flow.fd, pieces[0]))
        else:
            count = i64(os_writev(flow.fd, pieces if len(pieces) < MOST_PIECES else pieces[:MOST_PIECES]))
    except BlockingIOError:
        flow.writable = False
        return
    except OSError:
        on_broken(flow)
        return
    life = flow.life
    if life is not None:
        life.up += count
        if life.tap is not None:
            show_up(life.tap, pieces, count)
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
        flow.writable = False
    else:  # more pieces than one call takes: no event would tell us to go on
        flow.context.poller.later(flow)


def _count_push(flow: "TcpFlow") -> None:
    """Turn Nagle's algorithm off with the second push.

    It holds back only what follows unacknowledged octets, and many a connection sends a single request.
    """
    if flow.pushes == 1 and flow.sock is not None:
        try:
            flow.sock.setsockopt(_TCP, _TCP_NODELAY, 1)
        except OSError:
            pass  # a socket that somebody opened need not be TCP's
    flow.pushes += 1


def pull(flow: "TcpFlow", now: Micros) -> None:
    """Take from the upstream what the client has room for, PULLS reads at most.

    A read that brings less than it asked for has emptied the socket, which saves the read that would
    say so; only urgent data and errors are not told that way.
    """
    conn = flow.conn
    context = flow.context
    for _ in range(PULLS):
        room = send_room(conn) if context.budget.level == CALM else scant_room(conn)
        size = min(room, READ_BURSTS * conn.snd_burst)
        if size <= 0 or conn.fin_queued or conn.state == CLOSED:
            return
        is_small = not flow.reads_large and size >= LARGE
        try:
            if is_small:
                size = LARGE
                data = context.small_reads.read(flow.fd)
            else:
                data = os_read(flow.fd, size)
        except BlockingIOError:
            flow.readable = False
            return
        except OSError as error:
            if flow.life is not None:
                note_reason(flow, lost(error.errno or 0))
            abort(conn, context.sink)
            return
        count = i64(len(data))
        if count == 0:
            on_end(flow)
            return
        queue(conn, data)
        life = flow.life
        if life is not None:
            life.down += count
            if life.tap is not None and life.tap.down_left != 0:
                life.tap.take(False, data)
        flow.reads_large = count >= LARGE
        if count < size and not flow.reads_to_end:
            flow.readable = False
            if flow.hung_up:
                on_end(flow)
            return
        transmit(conn, now, context.sink)
    context.poller.later(flow)


def on_broken(flow: "TcpFlow") -> None:
    """Stop sending to an upstream that takes nothing any more; what it has sent is still read."""
    conn = flow.conn
    flow.is_broken = True
    flow.writable = False
    flow.readable = True
    took(conn, conn.rcv_queued)
    conn.rcv_queue.clear()


def shut_upstream(flow: "TcpFlow") -> None:
    """Pass the client's FIN on; where the upstream has ended too, closing does that, and at once.

    But not in CLOSING: there our own FIN still waits for its acknowledgment, which may never come.
    """
    flow.is_shut = True
    if flow.sock is not None and (not flow.at_end or flow.conn.state == CLOSING):
        try:
            flow.sock.shutdown(_SHUT_WR)
        except OSError:  # already reset: reading tells
            flow.readable = True


def on_end(flow: "TcpFlow") -> None:
    """Pass the upstream's end on: a FIN, or a reset where it took no more from the client."""
    flow.at_end = True
    flow.readable = False
    if flow.is_broken:
        abort(flow.conn, flow.context.sink)
    else:
        close(flow.conn)
