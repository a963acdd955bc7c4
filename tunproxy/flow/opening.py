"""Opening a flow's upstream: dialled by us, or by somebody else; the client is answered as the target was.

join ─▶ dial ─ on_dialled ─▶ (a conversation) ─▶ connected ─▶ the client gets its SYN, ACK
     └▶ ask ─── opened ──────────────────────┘
            └── failed ───────────────────────────────────▶ a reset, an ICMP error, or silence
"""

import errno
import socket
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.flow.budget import CALM
from tunproxy.flow.codec import Codec
from tunproxy.flow.coding import Coding
from tunproxy.flow.conversing import GOES_ON, IS_OVER, Talk, begin_talk, on_talk
from tunproxy.flow.ending import leave
from tunproxy.flow.hearing import Hearing
from tunproxy.flow.life import not_reached
from tunproxy.flow.ports import (
    EDGE,
    ERROR,
    HANGUP,
    PEER_HANGUP,
    READABLE,
    URGENT,
    WRITABLE,
    OpenRequest,
)
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.flow.watching import note_open, note_reason
from tunproxy.tcp.active import queue
from tunproxy.tcp.autotune import shrink
from tunproxy.tcp.connection import RESET_BY_US, close_down
from tunproxy.tcp.passive import accept, refuse
from tunproxy.tcp.state import CLOSED, SYN_RECEIVED
from tunproxy.wire.icmp_error import emit_unreachable, unreachable_code
from tunproxy.wire.ip import IpView, parse_ip
from tunproxy.wire.vnet import VNET_LEN

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

WATCHED: Final[i64] = READABLE | WRITABLE | PEER_HANGUP | URGENT | EDGE
# a constant of ours costs nothing, a module's attribute a look-up
_EINPROGRESS: Final = errno.EINPROGRESS


def join(flow: "TcpFlow") -> None:
    """Enter the table; as an embryo, unless the client has brought back a cookie."""
    context = flow.context
    context.flows[flow.key] = flow
    flow.is_listed = True
    if flow.conn.state == SYN_RECEIVED:
        flow.is_embryo = True
        context.embryos[flow.key] = flow


def dial(flow: "TcpFlow", sock: socket.socket, address: tuple[str, int], now: Micros) -> None:
    """Connect sock, which the flow owns from now on, to address, and answer the client accordingly."""
    _take(flow, sock)
    life = flow.life
    if life is not None:
        life.dialled = address
        life.dialled_at = now
    error = sock.connect_ex(address)
    if error == 0 or error == _EINPROGRESS:  # the report that it is writable comes in either case
        flow.context.poller.watch(flow.fd, flow, WATCHED)
        if flow.talk is not None:
            flow.context.poller.schedule(flow, flow.talk.until)
    else:
        if life is not None:
            life.note_dialled(error, now)
        failed(flow, error)


def ask(flow: "TcpFlow", info: FlowInfo, verdict: Verdict) -> None:
    """Have somebody else open the upstream, and answer the client accordingly once he has."""
    request = _Request(flow, verdict.upstream)
    flow.request = request
    flow.context.opener.open(info, verdict, request)


def converse(flow: "TcpFlow", info: FlowInfo, verdict: Verdict, now: Micros) -> bool:
    """Prepare the conversation that follows the dialling; where there can be none, fail, and return False."""
    opener = flow.context.opener
    try:
        conversation = opener.converse(info, verdict)
    except BaseException as error:  # a plugin's sys.exit() must not end the process
        number = opener.explain(info, verdict, error)
        if flow.life is not None:
            flow.life.note_failed(verdict.upstream, 0, error)
        failed(flow, number)
        return False
    flow.talk = Talk(conversation, info, verdict, now)
    return True


def hear_out(flow: "TcpFlow", info: FlowInfo, now: Micros) -> None:
    """Answer the client before it is decided where the flow goes; what he says first will tell."""
    flow.hearing = Hearing(info)
    conn = flow.conn
    if not conn.is_answered:
        accept(conn, now, flow.context.sink)
        flow.context.poller.schedule(flow, conn.rto_at)


def opened(
    flow: "TcpFlow", sock: socket.socket, rest: bytes, codec: Codec | None, upstream: str, now: Micros
) -> None:
    """Take over a connected socket that somebody opened for the flow, with all that belongs to it."""
    flow.request = None
    _take(flow, sock)
    if codec is not None and not _is_coded(flow, codec, upstream):
        return
    flow.context.poller.watch(flow.fd, flow, WATCHED)
    _on_connected(flow, rest, now)


def failed(flow: "TcpFlow", error: int) -> None:
    """Answer the client as the target answered, or would have: refused, unreachable, or silent.

    A client that has got a cookie believes to be connected: all that is left is a reset.
    """
    context = flow.context
    context.counters.flows_refused += 1
    if flow.life is not None:
        note_reason(flow, not_reached(error))
    flow.request = None
    conn = flow.conn
    if error == errno.ECONNREFUSED or error == errno.ECONNRESET or conn.is_answered:
        refuse(conn, context.sink)
    elif conn.state != CLOSED:
        view = IpView()
        parse_ip(flow.syn, VNET_LEN, len(flow.syn), view)
        code = unreachable_code(view.is_ipv6, error)
        frame = emit_unreachable(conn.settings.scratch, flow.syn, view, code) if code >= 0 else b""
        if len(frame) > 0:
            context.sink.write(frame)
        close_down(conn, RESET_BY_US)
    leave(flow)


def on_dialled(flow: "TcpFlow", events: i64, now: Micros) -> None:
    """Process a report of a socket that was dialled, whose flow is not open yet."""
    sock = flow.sock
    talk = flow.talk
    assert sock is not None
    if talk is not None and talk.has_begun:
        _on_said(flow, talk, on_talk(flow, talk, events), now)
    elif events & (ERROR | HANGUP):
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
        if flow.life is not None:
            flow.life.note_dialled(error, now)
        failed(flow, error if talk is None else flow.context.opener.unreached(talk.info, talk.verdict, error))
    elif events & WRITABLE:
        flow.note(events)
        if flow.life is not None:
            flow.life.note_dialled(0, now)
        if talk is None:
            _on_connected(flow, b"", now)
        else:
            became = begin_talk(flow, talk)
            if became == GOES_ON and events & (READABLE | PEER_HANGUP):
                became = on_talk(flow, talk, events)  # said before it was asked: no other report tells
            _on_said(flow, talk, became, now)


def _on_said(flow: "TcpFlow", talk: Talk, became: int, now: Micros) -> None:
    """Go on as the conversation has gone."""
    if became == GOES_ON:
        return
    flow.talk = None
    if became == IS_OVER:
        codec = talk.conversation.codec
        if codec is None or _is_coded(flow, codec, talk.verdict.upstream):
            _on_connected(flow, talk.conversation.rest, now)
    else:
        failed(flow, talk.error)


def _is_coded(flow: "TcpFlow", codec: Codec, upstream: str) -> bool:
    """Have the flow go through codec; where that is at fault, refuse the client, and return False."""
    try:
        flow.coding = Coding(codec, upstream)
    except BaseException as error:  # a plugin's sys.exit() must not end the process
        flow.context.opener.on_spoiled(upstream, error)
        failed(flow, errno.ECONNREFUSED)
        return False
    return True


def _take(flow: "TcpFlow", sock: socket.socket) -> None:
    flow.sock = sock
    flow.fd = sock.fileno()
    flow.context.live += 1


def _on_connected(flow: "TcpFlow", rest: bytes, now: Micros) -> None:
    """Go on with an upstream that is open; rest is what its target has said already."""
    context = flow.context
    context.counters.flows_opened += 1
    flow.is_open = True
    flow.syn = b""
    conn = flow.conn
    life = flow.life
    if life is not None:
        note_open(flow, life, now)
    if len(rest) > 0:
        queue(conn, rest)
        if life is not None:
            life.down += len(rest)
            if life.tap is not None:
                life.tap.take(False, rest)
    if not conn.is_answered:
        if context.budget.level != CALM:
            shrink(conn)
        accept(conn, now, context.sink)
        if not flow.readable:  # nothing can move before the client has acknowledged that
            context.poller.schedule(flow, conn.rto_at)
            return
    flow.settle(now)


@final
@mypyc_attr(native_class=True)
class _Request(OpenRequest):
    """What an opener holds of a flow that waits for it."""

    def __init__(self, flow: "TcpFlow", upstream: str) -> None:
        self._flow: Final = flow
        self._upstream = upstream

    def decided(self, verdict: Verdict) -> None:
        self._upstream = verdict.upstream
        life = self._flow.life
        if life is not None:
            life.verdict = verdict

    def opened(self, sock: socket.socket, rest: bytes = b"", codec: Codec | None = None) -> None:
        opened(self._flow, sock, rest, codec, self._upstream, clock.now())

    def failed(self, error: int) -> None:
        failed(self._flow, error)

    def tried(self, where: str, took: Micros, failure: str) -> None:
        life = self._flow.life
        if life is not None:
            life.note_tried(where, took, failure)
