"""Moving bytes through a codec: what relay does, where the stream is transformed on its way.

    client ─▶ rcv_queue ─ encode ─▶ unsent ─▶ socket ─▶ upstream
    client ◀── buffer ◀── decode ◀─────────── socket ◀─ upstream

Encoded octets cannot be given back, so that no more is encoded before the last has been sent.
"""

import os
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.codec import Codec
from tunproxy.flow.life import SPOILED, lost
from tunproxy.flow.relay import on_broken, on_end
from tunproxy.flow.watching import note_reason
from tunproxy.tcp.active import abort, queue, took
from tunproxy.tcp.connection import FINISHED, Connection, send_room
from tunproxy.tcp.state import CLOSED, has_all_data
from tunproxy.tcp.transmit import transmit

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

os_read: Final = os.read
os_write: Final = os.write

# our choices
READ_SIZE: Final[i64] = 1 << 16
READS: Final = 4  # of one flow before the others have their turn
MOST_ENCODED: Final = 1 << 17  # octets in the clear that are encoded at once


@final
@mypyc_attr(native_class=True)
class Coding:
    """A flow's codec, and what has been encoded but not sent. upstream is a name, for people."""

    def __init__(self, codec: Codec, upstream: str) -> None:
        self.codec: Final = codec
        self.upstream: Final = upstream
        self.unsent: bytes | memoryview = b""
        self.is_flushed: bool = True
        self.is_ended: bool = False  # the codec has said its last word to the upstream

    @property
    def is_done(self) -> bool:
        """Whether everything that the client said, and the codec's last word, has been sent."""
        return self.is_ended and len(self.unsent) == 0


def push_coded(flow: "TcpFlow", coding: Coding) -> None:
    """Encode what the client sent, and hand it to the upstream, as much as it takes."""
    conn = flow.conn
    codec = coding.codec
    try:
        while flow.writable and not flow.is_broken:
            if len(coding.unsent) > 0:
                _send(flow, coding)
            elif len(conn.rcv_queue) > 0:
                pieces = conn.rcv_queue
                data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                if len(data) > MOST_ENCODED:
                    pieces[:] = [memoryview(data)[MOST_ENCODED:]]
                    data = data[:MOST_ENCODED]
                else:
                    pieces.clear()
                took(conn, len(data))
                life = flow.life
                if life is not None:
                    life.up += len(data)
                    if life.tap is not None and life.tap.up_left != 0:
                        life.tap.take(True, data)
                coding.unsent = codec.encode(data)
                coding.is_flushed = False
            elif not coding.is_flushed:
                coding.is_flushed = True
                coding.unsent = codec.flush()
            elif not coding.is_ended and _has_said_all(conn):
                coding.is_ended = True
                coding.unsent = codec.end()
            else:
                return
    except Exception as error:
        _on_fault(flow, coding, error)


def pull_coded(flow: "TcpFlow", coding: Coding, now: Micros) -> None:
    """Take from the upstream what the client has room for, and decode it."""
    conn = flow.conn
    codec = coding.codec
    for _ in range(READS):
        if send_room(conn) <= 0 or conn.fin_queued or conn.state == CLOSED:
            return
        try:
            data = os_read(flow.fd, READ_SIZE)
        except BlockingIOError:
            flow.readable = False
            return
        except OSError as error:
            if flow.life is not None:
                note_reason(flow, lost(error.errno or 0))
            abort(conn, flow.context.sink)
            return
        try:
            clear = codec.decode(data) if len(data) > 0 else codec.decode_end()
            answer = codec.answer()
            has_ended = codec.has_ended() or len(data) == 0
        except Exception as error:
            _on_fault(flow, coding, error)
            return
        if len(clear) > 0:
            queue(conn, clear)
            life = flow.life
            if life is not None:
                life.down += len(clear)
                if life.tap is not None and life.tap.down_left != 0:
                    life.tap.take(False, clear)
        if len(answer) > 0:
            coding.unsent = bytes(coding.unsent) + answer
            push_coded(flow, coding)
        if has_ended:
            on_end(flow)
            return
        if i64(len(data)) < READ_SIZE and not flow.reads_to_end and not flow.hung_up:
            flow.readable = False
            return
        transmit(conn, now, flow.context.sink)
    flow.context.poller.later(flow)


def _has_said_all(conn: Connection) -> bool:
    return has_all_data(conn.state) or (conn.state == CLOSED and conn.closed_why == FINISHED)


def _send(flow: "TcpFlow", coding: Coding) -> None:
    try:
        sent = os_write(flow.fd, coding.unsent)
    except BlockingIOError:
        flow.writable = False
        return
    except OSError:
        coding.unsent = b""
        on_broken(flow)
        return
    if sent < len(coding.unsent):
        coding.unsent = memoryview(coding.unsent)[sent:]
        flow.writable = False
    else:
        coding.unsent = b""


def _on_fault(flow: "TcpFlow", coding: Coding, error: BaseException) -> None:
    """End a flow whose stream has been spoiled: no octet more of it reaches anybody."""
    flow.context.opener.on_spoiled(coding.upstream, error)
    note_reason(flow, SPOILED)
    abort(flow.conn, flow.context.sink)
