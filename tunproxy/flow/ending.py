"""Ending a flow: what the upstream is told, and when the flow leaves the table.

A reset on one side is a reset on the other. Where both sides are done, the socket is let go of at once; the
flow itself stays through TIME-WAIT, unless too many do.
"""

import socket
import struct
from typing import TYPE_CHECKING, Final

from tunproxy.flow.life import EVICTED
from tunproxy.flow.watching import note_end, note_reason
from tunproxy.tcp.active import abort
from tunproxy.tcp.connection import FINISHED, RESET_BY_US, close_down
from tunproxy.tcp.state import CLOSED, SYN_RECEIVED, TIME_WAIT

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

_SOL_SOCKET: Final = int(socket.SOL_SOCKET)
_SO_LINGER: Final = int(socket.SO_LINGER)
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends a reset

# our choice
MAX_WAITING: Final = 8192  # a flow in TIME-WAIT costs a kilobyte and guards against next to nothing here


def wind_up(flow: "TcpFlow") -> None:
    """Let go of the upstream once nothing more can move, and of the flow once the client's side ended."""
    conn = flow.conn
    is_reset = conn.state == CLOSED and conn.closed_why != FINISHED
    if is_reset:
        _reset_upstream(flow)
    elif flow.is_broken or (len(conn.rcv_queue) == 0 and (flow.coding is None or flow.coding.is_done)):
        _close_upstream(flow)
    if conn.state == CLOSED and flow.fd < 0:
        leave(flow)


def leave(flow: "TcpFlow") -> None:
    """Take the flow out of the table."""
    _close_upstream(flow)
    context = flow.context
    if flow.is_embryo:
        hatch(flow)
    if flow.charged != 0:
        context.budget.charge(-flow.charged)
        flow.charged = 0
    if flow.is_listed:
        flow.is_listed = False
        del context.flows[flow.key]
        context.counters.retransmits += flow.conn.retransmits


def drop(flow: "TcpFlow") -> None:
    """End the flow from our side with a reset to both."""
    abort(flow.conn, flow.context.sink)
    wind_up(flow)


def evict(flow: "TcpFlow") -> None:
    """End an embryo at once: a reset for the target, for the client silence; he may ask again.

    Does nothing but strike it off the list where its client's ACK has come in this very batch.
    """
    hatch(flow)
    conn = flow.conn
    if conn.state != SYN_RECEIVED:
        return
    context = flow.context
    context.counters.flows_evicted += 1
    note_reason(flow, EVICTED)
    close_down(conn, RESET_BY_US)
    sock = flow.sock
    if sock is not None:  # not discarded, which would hold the descriptor a while longer
        flow.sock = None
        context.poller.forget(flow.fd)
        flow.fd = -1
        context.live -= 1
        _reset_on_close(sock)
        sock.close()
    leave(flow)


def hatch(flow: "TcpFlow") -> None:
    """Be no embryo any more."""
    flow.is_embryo = False
    del flow.context.embryos[flow.key]


def _reset_upstream(flow: "TcpFlow") -> None:
    """Close so that the target sees a reset, as the client sent one or vanished.

    Not where the client had said everything: its last octets may still be on their way, and a reset would
    drop them. The kernel resets by itself what the target sends to a closed socket.
    """
    sock = flow.sock
    if sock is not None and flow.is_open and not flow.is_shut:
        _reset_on_close(sock)
    _close_upstream(flow)


def _close_upstream(flow: "TcpFlow") -> None:
    if flow.life is not None:
        note_end(flow, flow.life)
    if flow.request is not None:
        flow.context.opener.cancel(flow.request)
        flow.request = None
    flow.talk = None  # or else its proxy would be blamed for not having answered in time
    sock = flow.sock
    if sock is not None:
        context = flow.context
        context.poller.discard(sock)
        flow.sock = None
        flow.fd = -1
        context.live -= 1
        if flow.conn.state == TIME_WAIT:
            _linger(flow)


def _linger(flow: "TcpFlow") -> None:
    """Join the flows in TIME-WAIT; where they are too many, the oldest ends early."""
    waiting = flow.context.waiting
    waiting.append(flow)
    while len(waiting) > MAX_WAITING or waiting[0].conn.state == CLOSED:
        drop(waiting.popleft())


def _reset_on_close(sock: socket.socket) -> None:
    try:
        sock.setsockopt(_SOL_SOCKET, _SO_LINGER, _RESET)
    except OSError:
        pass  # the system has already given the connection up
