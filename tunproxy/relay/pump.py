"""A flow through the relay: octets both ways between a client and a target.

    client ── read ─▶ decode ─▶ unsent ─▶ target          at most one read is under way in each direction:
    client ◀─ unsent ◀─ encode ◀── read ── target          what is not taken stops the reading

An end is passed on as an end, a reset as a reset. One direction goes on when the other has ended.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, final

from tunproxy.flow.codec import WANTS_ANSWERS, Codec
from tunproxy.relay.limits import Account

# our choices
BUFFER_SIZE: Final = 1 << 18
CODED_SIZE: Final = 1 << 16  # of one read that goes through a codec; BUFFER_SIZE where the last was as large
MOST_UNTAKEN: Final = 1 << 19  # octets that wait when a codec answers; one read makes no more than half of it
MOST_PIECES: Final = 512  # that are sent uncopied; the kernel takes 1024 (IOV_MAX)
FLUSH_AFTER: Final = 0.001  # seconds: who sends without a pause is flushed in the next one
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing is resetting

# how flows end
CLOSED: Final = "closed"
DRAINED: Final = "cut: the relay ends"

_buffer: Final = memoryview(bytearray(BUFFER_SIZE))  # what is read is passed on, or copied, at once


@final
class End:
    """One end of a flow. codec stands between its socket and us; unsent is what its socket did not take."""

    __slots__ = (
        "codec", "flush_at", "has_ended", "has_more", "is_at_end", "is_broken", "is_ending", "is_held",
        "is_reading", "is_unfolding", "is_writing", "name", "other", "read_size", "sock", "unsent",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, name: str, codec: Codec | None) -> None:
        self.sock: Final = sock
        self.name: Final = name
        self.codec: Final = codec
        self.other: End = self
        self.unsent: bytes | memoryview = b""
        self.read_size = CODED_SIZE
        self.is_reading = False
        self.is_writing = False  # the loop tells when it takes more
        self.is_held = False  # by the limit of its user
        self.has_more = False  # of what arrived in its codec
        self.is_unfolding = False
        self.is_at_end = False  # its socket says no more; its codec may
        self.has_ended = False  # it says no more
        self.is_ending = False  # it is told no more, once unsent is gone
        self.is_broken = False  # it takes no more
        self.flush_at: asyncio.TimerHandle | None = None


@final
class Flow:
    """Moves octets from ``start`` on until both ends have ended, or one breaks; then closes both sockets.

    on_over is called once, with the reason in words. account is whose flow it is: it is told of every octet
    and may slow the flow down.
    """

    def __init__(
        self,
        client: socket.socket,
        codec: Codec | None,
        target: socket.socket,
        account: Account,
        on_over: Callable[["Flow", str], None],
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self.client: Final = End(client, "client", codec)
        self.target: Final = End(target, "target", None)
        self.client.other, self.target.other = self.target, self.client
        self.account: Final = account
        self.up = 0  # octets in the clear that the client said
        self.down = 0
        self.active_at = self._loop.time()
        self.is_over = False
        self._on_over: Final = on_over

    @property
    def is_half_open(self) -> bool:
        """Whether one of the ends says no more."""
        return self.client.has_ended or self.target.has_ended

    def start(self, early: bytes = b"") -> None:
        """Begin; early is what the client has said already."""
        if early:
            self._count(self.client, len(early))
            self._write(self.target, early)
        codec = self.client.codec
        if codec is not None and not self.is_over:
            self.client.has_more = codec.has_more() or codec.has_ended()
        self._update(self.client)
        self._update(self.target)

    def cut(self, why: str) -> None:
        """End it now: both are reset."""
        if self.is_over:
            return
        for end in (self.client, self.target):
            try:
                end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            except OSError:
                pass
        self._close(why)

    def _close(self, why: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        for end in (self.client, self.target):
            if end.is_reading:
                self._loop.remove_reader(end.sock.fileno())
            self._stop_writing(end)
            if end.flush_at is not None:
                end.flush_at.cancel()
            end.sock.close()
        self._on_over(self, why)

    # from one end to the other

    def _on_readable(self, source: End) -> None:
        self.active_at = self._loop.time()
        sink = source.other
        is_coded = source.codec is not None or sink.codec is not None
        try:
            # What goes into a codec may stay there: it has octets of its own.
            data = source.sock.recv(source.read_size) if is_coded else b""
            count = len(data) if is_coded else source.sock.recv_into(_buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.cut(f"reset by the {source.name}")
            return
        is_pause = count < source.read_size
        source.read_size = BUFFER_SIZE if count >= CODED_SIZE else CODED_SIZE
        if source.codec is not None:
            source.is_at_end = count == 0
            self._decode(source, data)
        elif count == 0:
            self._on_end(source)
        else:
            self._count(source, count)
            if sink.codec is None:
                self._write(sink, _buffer[:count])
            else:
                self._encode(sink, data, is_pause)

    def _decode(self, source: End, data: bytes) -> None:
        """Take what arrived from an end with a codec, or more of what had; pass on what it unfolds to."""
        codec = source.codec
        assert codec is not None
        try:
            clear = codec.decode_pieces(data) if data or source.has_more else []
            has_more = codec.has_more()
            has_ended = False
            if not has_more and (source.is_at_end or codec.has_ended()):
                rest = codec.decode_end()  # raises where it was cut off
                if rest:
                    clear.append(rest)
                has_more = codec.has_more()
                has_ended = not has_more
            words = codec.answer()
        except Exception as error:
            self.cut(f"the {source.name}'s stream is spoiled: {error}")
            return
        if words and not source.is_ending:
            if len(source.unsent) > MOST_UNTAKEN:
                self.cut(f"the {source.name}'s stream is spoiled: {WANTS_ANSWERS}")
                return
            self._write(source, words)
        if clear:
            self._count(source, sum(map(len, clear)))
            self._write_pieces(source.other, clear)
        source.has_more = has_more
        if self.is_over:
            return
        if has_ended:
            self._on_end(source)
        else:
            self._update(source)

    def _unfold(self, source: End) -> None:
        """Go on with what has arrived, now that the other end has taken what came before."""
        source.is_unfolding = False
        if source.has_more and self._may_read(source):
            self._decode(source, b"")

    def _encode(self, sink: End, data: bytes, is_pause: bool) -> None:
        codec = sink.codec
        assert codec is not None
        try:
            words = codec.encode_pieces([data])
            keeps = codec.keeps()
            if is_pause and keeps:
                rest = codec.flush()
                if rest:
                    words.append(rest)
        except Exception as error:
            self.cut(f"the stream for the {sink.name} is spoiled: {error}")
            return
        if keeps and not is_pause and sink.flush_at is None:
            sink.flush_at = self._loop.call_later(FLUSH_AFTER, self._flush, sink)
        if words:
            self._write_pieces(sink, words)

    def _flush(self, sink: End) -> None:
        sink.flush_at = None
        codec = sink.codec
        if codec is None or sink.is_ending or self.is_over:
            return
        try:
            words = codec.flush() if codec.keeps() else b""
        except Exception as error:
            self.cut(f"the stream for the {sink.name} is spoiled: {error}")
            return
        if words:
            self._write(sink, words)

    def _on_end(self, source: End) -> None:
        """source says no more: so do we, to the other, when it has been given everything."""
        if source.is_broken:  # its reset was told to the writer, and what it had said before has been read
            self.cut(f"reset by the {source.name}")
            return
        source.has_ended = True
        sink = source.other
        if sink.codec is not None and not (sink.is_ending or sink.is_broken):
            try:
                words = sink.codec.end()
            except Exception as error:
                self.cut(f"the stream for the {sink.name} is spoiled: {error}")
                return
            if words:
                self._write(sink, words)
        sink.is_ending = True
        self._update(source)
        self._finish(sink)

    def _write_pieces(self, sink: End, pieces: list[bytes | memoryview]) -> None:
        """Do what ``_write`` does with pieces in a row; they are not copied where they are taken at once."""
        if len(pieces) == 1:
            self._write(sink, pieces[0])
            return
        if sink.unsent or sink.is_broken or self.is_over or len(pieces) > MOST_PIECES:
            self._write(sink, b"".join(pieces))
            return
        try:
            sent = sink.sock.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._on_broken(sink)
            return
        for number, piece in enumerate(pieces):
            if sent < len(piece):
                rest = [memoryview(piece)[sent:], *pieces[number + 1 :]]
                self._keep(sink, b"".join(rest))
                return
            sent -= len(piece)

    def _write(self, sink: End, data: bytes | memoryview) -> None:
        """Send data; what is not taken is kept, and nothing more is read for this end until it is gone."""
        if sink.is_broken or self.is_over:
            return
        if sink.unsent:
            sink.unsent = bytes(sink.unsent) + bytes(data)
            return
        try:
            sent = sink.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._on_broken(sink)
            return
        if sent < len(data):
            rest = data[sent:]
            self._keep(sink, bytes(rest) if isinstance(rest, memoryview) else memoryview(rest))

    def _keep(self, sink: End, rest: bytes | memoryview) -> None:
        """Send the rest when sink takes more."""
        sink.unsent = rest
        sink.is_writing = True
        self._loop.add_writer(sink.sock.fileno(), self._on_writable, sink)
        self._update(sink.other)

    def _stop_writing(self, sink: End) -> None:
        if sink.is_writing:
            sink.is_writing = False
            self._loop.remove_writer(sink.sock.fileno())

    def _on_writable(self, sink: End) -> None:
        self.active_at = self._loop.time()
        try:
            sent = sink.sock.send(sink.unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._on_broken(sink)
            return
        if sent < len(sink.unsent):
            sink.unsent = memoryview(sink.unsent)[sent:]
            return
        sink.unsent = b""
        self._stop_writing(sink)
        self._update(sink.other)
        self._finish(sink)

    def _on_broken(self, sink: End) -> None:
        """sink takes no more. What it said before it went is still read and passed on."""
        sink.is_broken = True
        sink.unsent = b""
        self._stop_writing(sink)
        if sink.has_ended:
            self.cut(f"reset by the {sink.name}")
        else:
            self._update(sink.other)

    def _finish(self, sink: End) -> None:
        """Pass the end on where everything before it has been sent; close where that was all."""
        if self.is_over or not sink.is_ending or sink.unsent:
            return
        if sink.has_ended and sink.other.is_ending and not sink.other.unsent:
            self._close(CLOSED)
            return
        try:
            sink.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.cut(f"reset by the {sink.name}")

    # who may be read

    def _count(self, source: End, count: int) -> None:
        if source is self.client:
            self.up += count
            delay = self.account.on_up(count)
        else:
            self.down += count
            delay = self.account.on_down(count)
        if delay > 0:
            source.is_held = True
            self._update(source)
            self._loop.call_later(delay, self._release, source)

    def _release(self, source: End) -> None:
        source.is_held = False
        self._update(source)

    def _may_read(self, source: End) -> bool:
        sink = source.other
        return not (source.has_ended or source.is_held or sink.unsent or sink.is_broken or self.is_over)

    def _update(self, source: End) -> None:
        """Read from source, or do not, as things stand."""
        may_read = self._may_read(source)
        if may_read and source.has_more:
            if not source.is_unfolding:
                source.is_unfolding = True
                self._loop.call_soon(self._unfold, source)
            may_read = False
        if may_read == source.is_reading:
            return
        source.is_reading = may_read
        if may_read:
            self._loop.add_reader(source.sock.fileno(), self._on_readable, source)
        elif not self.is_over:
            self._loop.remove_reader(source.sock.fileno())
