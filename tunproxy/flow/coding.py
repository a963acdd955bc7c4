"""Moving bytes through a codec: what relay does, where the stream is transformed on its way.

    client ─▶ rcv_queue ─ encode ─▶ unsent ─▶ socket ─▶ upstream
    client ◀── buffer ◀── decode ◀─────────── socket ◀─ upstream

Encoded octets cannot be given back, so that no more is encoded before the last has been sent. What the codec
keeps back is flushed when the sender pauses: when the next turn brings nothing more, and in any case soon, so
that single words go out at once and many small pieces in a row become one.

A few octets may unfold to a great many: they are decoded in portions, as the client has room for them.
"""

import os
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.budget import CALM
from tunproxy.flow.codec import WANTS_ANSWERS, Codec, CodecError
from tunproxy.flow.life import SPOILED, lost
from tunproxy.flow.relay import MOST_PIECES, on_broken, on_end
from tunproxy.flow.watching import note_reason, show_up
from tunproxy.tcp.active import abort, queue, queue_view, took
from tunproxy.tcp.connection import FINISHED, Connection, send_room
from tunproxy.tcp.state import CLOSED, SYN_RECEIVED, has_all_data
from tunproxy.tcp.transmit import transmit

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

os_read: Final = os.read
os_write: Final = os.write
os_writev: Final = os.writev

# our choices
READ_SIZE: Final[i64] = 1 << 16
LARGE_READ: Final[i64] = 1 << 18  # where the read before was full, and the client has room
READS: Final = 4  # of one flow before the others have their turn
MOST_READ: Final[i64] = 1 << 19  # octets, likewise
MOST_ENCODED: Final[i64] = 1 << 18  # octets in the clear that are encoded at once
MOST_UNSENT: Final[i64] = 1 << 21  # octets that wait when the codec answers: more than MOST_ENCODED makes
FLUSH_AFTER: Final[i64] = 500  # microseconds for which a codec may keep something back while more comes


@final
@mypyc_attr(native_class=True)
class Coding:
    """A flow's codec, and what has been encoded but not sent. upstream is a name, for people."""

    def __init__(self, codec: Codec, upstream: str) -> None:
        """Raises what the codec raises, which may be a plugin's."""
        self.codec: Final = codec
        self.upstream: Final = upstream
        self.unsent: list[bytes | memoryview] = []
        self.unsent_size: i64 = 0  # octets in it
        self.is_flushed: bool = True
        self.kept_since: Micros = -1  # what has not been flushed
        self.encoded_at: Micros = -1
        self.has_more: bool = codec.has_more()  # the codec has octets for the client without further input
        self.is_read: bool = False  # the upstream's last octet has been
        self.patience: Micros = i64(codec.patience())  # -1: nobody waits for the client's first words
        self.until: Micros = -1  # how long, from the end of the handshake on
        self.is_ended: bool = False  # the codec has said its last word to the upstream

    @property
    def is_done(self) -> bool:
        """Whether everything that the client said, and the codec's last word, has been sent."""
        return self.is_ended and self.unsent_size == 0

    def put(self, words: bytes) -> None:
        """Have words sent behind all others."""
        if len(words) > 0:
            self.unsent.append(words)
            self.unsent_size += len(words)


def push_coded(flow: "TcpFlow", coding: Coding, now: Micros) -> None:
    """Encode what the client sent, and hand it to the upstream, as much as it takes."""
    conn = flow.conn
    codec = coding.codec
    try:
        while flow.writable and not flow.is_broken:
            if coding.unsent_size > 0:
                _send(flow, coding)
            elif len(conn.rcv_queue) > 0:
                pieces = _next_pieces(conn.rcv_queue)
                size = _size(pieces)
                took(conn, size)
                life = flow.life
                if life is not None:
                    life.up += size
                    if life.tap is not None:
                        show_up(life.tap, pieces, size)
                coding.unsent = codec.encode_pieces(pieces)
                coding.unsent_size = _size(coding.unsent)
                coding.encoded_at = now
                if not codec.keeps():
                    coding.is_flushed = True
                elif coding.is_flushed:
                    coding.is_flushed = False
                    coding.kept_since = now
            elif not coding.is_flushed:
                if _may_go_on(coding, now) and not _has_said_all(conn):
                    flow.context.poller.later(flow)
                    return
                coding.is_flushed = True
                coding.put(codec.flush())
            elif not coding.is_ended and _has_said_all(conn):
                coding.is_ended = True
                coding.put(codec.end())
            else:
                return
    except BaseException as error:  # a plugin's sys.exit() must not end the process
        _on_fault(flow, coding, error)


def await_words(flow: "TcpFlow", coding: Coding, now: Micros) -> None:
    """Have the codec's own first words wait for the client's, but not for long."""
    conn = flow.conn
    if conn.state == SYN_RECEIVED:
        return
    if coding.until < 0:
        coding.until = now + coding.patience
    if len(conn.rcv_queue) > 0:
        coding.patience = -1
    elif now >= coding.until or _has_said_all(conn):
        coding.patience = -1
        coding.is_flushed = False


def pull_coded(flow: "TcpFlow", coding: Coding, now: Micros) -> None:
    """Take from the upstream what the client has room for, and decode it."""
    conn = flow.conn
    codec = coding.codec
    taken: i64 = 0
    for _ in range(READS):
        room = send_room(conn)
        if room <= 0 or conn.fin_queued or conn.state == CLOSED:
            return
        size: i64 = READ_SIZE
        data = b""
        is_last = False
        if not coding.has_more:
            if coding.is_read:
                is_last = True
            elif not flow.readable:
                return
            else:
                if flow.reads_large and room > READ_SIZE and flow.context.budget.level == CALM:
                    size = min(room, LARGE_READ)
                try:
                    data = os_read(flow.fd, size)
                except BlockingIOError:
                    flow.readable = False
                    return
                except OSError as error:
                    _on_lost(flow, coding, error)
                    return
                coding.is_read = is_last = len(data) == 0
                flow.reads_large = len(data) >= READ_SIZE
                taken += len(data)
        clear: list[bytes | memoryview] = []
        try:
            if is_last:
                rest = codec.decode_end()
                if len(rest) > 0:
                    clear.append(rest)
            else:
                clear = codec.decode_pieces(data)
            _check(clear)
            answer = codec.answer()
            if not isinstance(answer, bytes):
                raise TypeError(f"its answer is {type(answer).__name__}, not bytes")
            if len(answer) > 0 and coding.unsent_size > MOST_UNSENT:
                raise CodecError(WANTS_ANSWERS)
            coding.has_more = codec.has_more()
            has_ended = not coding.has_more and (is_last or codec.has_ended())
        except BaseException as error:
            coding.has_more = False
            _on_fault(flow, coding, error)
            return
        for piece in clear:
            if isinstance(piece, bytes):
                queue(conn, piece)
            else:
                queue_view(conn, piece)
            life = flow.life
            if life is not None:
                life.down += len(piece)
                if life.tap is not None and life.tap.down_left != 0:
                    life.tap.take(False, piece)
        if len(answer) > 0:
            coding.put(answer)
            push_coded(flow, coding, now)
        if has_ended:
            on_end(flow)
            return
        if 0 < len(data) < size and not flow.reads_to_end and not flow.hung_up:
            flow.readable = False
        if not coding.has_more and not flow.readable and not coding.is_read:
            return
        transmit(conn, now, flow.context.sink)
        if taken >= MOST_READ:
            break
    flow.context.poller.later(flow)


def _may_go_on(coding: Coding, now: Micros) -> bool:
    """Tell whether the sender may be about to send more: a turn has one time, so this is still the same."""
    return coding.encoded_at == now and now - coding.kept_since < FLUSH_AFTER


def _has_said_all(conn: Connection) -> bool:
    return has_all_data(conn.state) or (conn.state == CLOSED and conn.closed_why == FINISHED)


def _next_pieces(waiting: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Take what is to be encoded next out of a queue: MOST_ENCODED octets at most."""
    size: i64 = 0
    count: i64 = 0
    while count < len(waiting):
        length = i64(len(waiting[count]))
        if count > 0 and size + length > MOST_ENCODED:
            break  # rather in one piece later than cut in two now
        size += length
        count += 1
    pieces = waiting[:count]
    del waiting[:count]
    if size > MOST_ENCODED:
        last = memoryview(pieces[count - 1])
        cut = len(last) - (size - MOST_ENCODED)
        pieces[count - 1] = last[:cut]
        waiting.insert(0, last[cut:])
    return pieces


def _check(pieces: list[bytes | memoryview]) -> None:
    """Raise TypeError where a codec has decoded to anything but octets: nobody else would bear that."""
    for piece in pieces:
        if not isinstance(piece, (bytes, memoryview)):
            raise TypeError(f"it decodes to {type(piece).__name__}, not to bytes")


def _size(pieces: list[bytes | memoryview]) -> i64:
    size: i64 = 0
    for piece in pieces:
        size += len(piece)
    return size


def _send(flow: "TcpFlow", coding: Coding) -> None:
    """Have the upstream's socket take what it takes of what is unsent."""
    pieces = coding.unsent
    try:
        if len(pieces) == 1:
            sent = i64(os_write(flow.fd, pieces[0]))
        else:
            sent = i64(os_writev(flow.fd, pieces if len(pieces) < MOST_PIECES else pieces[:MOST_PIECES]))
    except BlockingIOError:
        flow.writable = False
        return
    except OSError:
        pieces.clear()
        coding.unsent_size = 0
        on_broken(flow)
        return
    coding.unsent_size -= sent
    if coding.unsent_size == 0:
        pieces.clear()
        return
    done: i64 = 0
    while sent >= len(pieces[done]):
        sent -= len(pieces[done])
        done += 1
    del pieces[:done]
    if sent > 0:
        pieces[0] = memoryview(pieces[0])[sent:]
        flow.writable = False


def _on_lost(flow: "TcpFlow", coding: Coding, error: OSError) -> None:
    """Pass on that the upstream's socket is broken; the codec may know more about it."""
    try:
        coding.codec.on_reset()
    except BaseException as fault:
        _on_fault(flow, coding, fault)
        return
    if flow.life is not None:
        note_reason(flow, lost(error.errno or 0))
    abort(flow.conn, flow.context.sink)


def _on_fault(flow: "TcpFlow", coding: Coding, error: BaseException) -> None:
    """End a flow whose stream has been spoiled: no octet more of it reaches anybody."""
    flow.context.opener.on_spoiled(coding.upstream, error)
    note_reason(flow, SPOILED)
    abort(flow.conn, flow.context.sink)
