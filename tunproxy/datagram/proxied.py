"""One client's UDP port and the way through a proxy that stands for it.

    OPENING   somebody opens the way; what the client sends meanwhile is kept
    OPEN      a connected socket, behind which the proxy is
    FAILED    it could not be opened; for a moment nobody tries again, and clients are told so at once
    CLOSED    over: the next datagram asks for another way

Each datagram stands behind a header (``flow.framing``) that names its target, or its source. All targets of
one family share the way, so that the mapping is as endpoint-independent as the proxy's.
Hop limit and don't-fragment of the client's packets say nothing of the way to the proxy, and stay here.
"""

import errno
import socket
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.datagram.carrier import MAX_PATHS, Carrier, count_datagrams
from tunproxy.datagram.context import Context
from tunproxy.datagram.error_queue import take_errors
from tunproxy.datagram.kept import Kept
from tunproxy.datagram.path import MAX_SEGMENTS, Path
from tunproxy.datagram.receiver import SLOTS
from tunproxy.datagram.sources import Sources
from tunproxy.datagram.timeouts import idle_limit
from tunproxy.datagram.watching import note_open
from tunproxy.flow.framing import Framing
from tunproxy.flow.life import EVICTED, IDLE, FlowLife, not_reached
from tunproxy.flow.ports import ERROR, READABLE, DatagramRequest, Opener
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.wire.bits import put16
from tunproxy.wire.icmp_error import quote_datagram
from tunproxy.wire.ip import UDP, Endpoints
from tunproxy.wire.reasons import NO_FLOW, REJECTED, TABLE_FULL, UPSTREAM_FULL, WAITING_FULL

OPENING: Final[i64] = 0
OPEN: Final[i64] = 1
FAILED: Final[i64] = 2
CLOSED: Final[i64] = 3
WEIGHT: Final[i64] = 2  # descriptors: its socket, and the stream that keeps it

_MAX_DATAGRAM: Final[i64] = 65_507  # over IPv4
_MAX_PACKET: Final[i64] = 65_535
_EAGAIN: Final = errno.EAGAIN
_ENOBUFS: Final = errno.ENOBUFS
_EMSGSIZE: Final = errno.EMSGSIZE
_EINVAL: Final = errno.EINVAL
_EIO: Final = errno.EIO
_EOPNOTSUPP: Final = errno.EOPNOTSUPP
_ECONNREFUSED: Final = errno.ECONNREFUSED
_EMFILE: Final = errno.EMFILE
_ENFILE: Final = errno.ENFILE

# our choices
RETRY_AFTER: Final[Micros] = 1_000_000  # µs after a failure
_MAX_REPORTS: Final = 64  # errors read in one go


@final
@mypyc_attr(native_class=True)
class ProxiedWay(Carrier):
    """The way that verdict's upstream opens; limit is how long it may be idle, to begin with.

    Its paths are known by their keys, as headers are only known once it is open.
    """

    def __init__(
        self,
        context: Context,
        opener: Opener,
        key: bytes,
        client: bytes,
        client_port: i64,
        verdict: Verdict,
        limit: Micros,
        now: Micros,
    ) -> None:
        super().__init__(key, client, limit, now)
        self.weight = WEIGHT
        self.is_open = False
        self.state: i64 = OPENING
        self.is_new: bool = True
        self.error: int = 0  # what clients are told once it is no more, 0 for nothing
        self.sources: Final = Sources(client, client_port, context.counters)
        self._context: Final = context
        self._opener: Final = opener
        self._verdict: Final = verdict  # its opener is part of our key, by its address
        self._client_port: Final = client_port
        self._kept: Final = Kept(context.kept)
        self._request: DatagramRequest | None = None
        self._sock: socket.socket | None = None
        self._fd: int = -1
        self._framing: Framing = Framing()
        self._counted_ends: Endpoints | None = None  # of whom we had octets last, and whose life it is
        self._counted: FlowLife | None = None
        context.ways[key] = self
        context.room.enter(self)

    # the way

    def begin(self, info: FlowInfo) -> None:
        """Have it opened, at once or later."""
        self.is_new = False
        request = _Opening(self)
        self._request = request
        self._opener.open_datagrams(info, self._verdict, request)

    def open_path(self, key: bytes, info: FlowInfo) -> Path:
        """Return a new path to the target of this flow."""
        ends = Endpoints(info.target, self.client, info.target_port, self._client_port, UDP)
        path = Path(key, key, ("", 0), ends, self)
        path.host = info.host
        known = self.paths.get(key)
        if known is not None:
            self._context.forget(known)
        if len(self.paths) >= MAX_PATHS:
            self._context.forget(next(iter(self.paths.values())), EVICTED)
        self._context.remember(path)
        self.idle_limit = max(self.idle_limit, idle_limit(info.target_port, self._context.udp_timeout))
        self.sources.expect(path)
        if self.state == OPEN:
            self._name(path)
        return path

    def on_opened(self, sock: socket.socket, framing: Framing, now: Micros) -> None:
        """Use the way, of which sock is the connected socket."""
        self.state = OPEN
        self.is_open = True
        self.used_at = now
        self._sock = sock
        self._fd = sock.fileno()
        self._framing = framing
        for path in list(self.paths.values()):
            self._name(path)
            if path.life is not None:
                note_open(self._context, path.life, now)
        self._context.poller.watch(self._fd, self, READABLE)
        for sent in self._kept.take():
            self.send(sent.path, sent.payload, i64(len(sent.payload)), sent.unit, sent.traits, now)

    def on_failed(self, error: int, now: Micros) -> None:
        """Tell the client so; and whoever else wants this way, until it is tried again."""
        context = self._context
        self.state = FAILED
        self.error = error
        self._request = None
        context.room.leave(self)
        self.weight = 0
        self.used_at = now
        self.idle_limit = RETRY_AFTER
        context.room.enter(self)
        self._forget_paths(not_reached(error))
        for sent in self._kept.take():
            self._refuse(sent.path, sent.payload, i64(len(sent.payload)), sent.unit, error, now)
        if error == _EMFILE or error == _ENFILE:  # which somebody can spare, for the next try
            context.room.send_away(self.client, now)

    def on_ended(self) -> None:
        """The proxy gave the way up: the next datagram asks for another one."""
        self._request = None
        self.close()

    def give_way(self, now: Micros) -> None:
        for path in list(self.paths.values()):
            self.flush(path, now)
        for sent in self._kept.take():
            size = i64(len(sent.payload))
            self._context.counters.drop_several(TABLE_FULL, count_datagrams(size, sent.unit))
        self.close()

    def close(self) -> None:
        if self.state == CLOSED:
            return
        context = self._context
        if self.state == OPEN:
            context.poller.forget(self._fd)
        self.state = CLOSED
        request = self._request
        if request is not None:
            self._request = None
            self._opener.close_datagrams(request)
        self._sock = None
        self._kept.take()
        self._forget_paths(IDLE if self.error == 0 else not_reached(self.error))
        context.room.leave(self)
        del context.ways[self.key]

    def _die(self) -> None:
        """Nobody is at the proxy's end any more."""
        self.error = _ECONNREFUSED
        self.close()

    def _forget_paths(self, reason: str) -> None:
        for path in list(self.paths.values()):
            self._context.forget(path, reason)

    def _name(self, path: Path) -> None:
        """Learn how datagrams to and from the target of path are marked."""
        ends = path.ends
        try:
            path.header = self._framing.header_for(ends.source, ends.source_port, path.host)
        except Exception as error:  # a plugin's framing must not end the packet path
            self._opener.on_spoiled(self._verdict.upstream, error)
            return
        self.sources.learn(path.header, ends)

    # from the client

    def flush(self, path: Path, now: Micros) -> None:
        parts = path.parts
        count = len(parts)
        if count == 0:
            return
        unit = path.unit
        total = path.total
        path.clear()
        if self.state != OPEN:
            payload = parts[0] if count == 1 else b"".join(parts)
            self.send(path, payload, total, unit if count > 1 else 0, path.traits, now)
        elif count == 1:
            self._send_one(path, path.header + parts[0], now)
        else:
            pieces: list[bytes | memoryview] = []
            pieces.extend(parts)
            self._send_several(path, pieces, unit, now)

    def send(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, traits: i64, now: Micros
    ) -> None:
        state = self.state
        if state == OPENING:
            lost = self._kept.add(path, payload, size, unit, traits)
            if lost > 0:
                self._context.counters.drop_several(WAITING_FULL, lost)
        elif state != OPEN:  # since this very batch began
            self._refuse(path, payload, size, unit, self.error, now)
        elif unit <= 0 or unit >= size:
            self._send_one(path, b"".join([path.header, payload]), now)
        else:
            pieces: list[bytes | memoryview] = []
            at: i64 = 0
            while at < size:
                pieces.append(payload[at : min(at + unit, size)])
                at += unit
            self._send_several(path, pieces, unit, now)

    def _send_several(self, path: Path, pieces: list[bytes | memoryview], unit: i64, now: Micros) -> None:
        """Send datagrams of unit octets, the last of which may be shorter, in as few calls as possible."""
        header = path.header
        step = i64(len(header)) + unit
        most = min(MAX_SEGMENTS, _MAX_DATAGRAM // step)
        count = len(pieces)
        at: i64 = 0
        while at < count:
            end = min(at + most, count)
            if end - at > 1 and step <= self.max_unit and self._send_joined(header, pieces, at, end, step):
                at = end
                continue
            while at < end:
                self._send_one(path, b"".join([header, pieces[at]]), now)
                at += 1

    def _send_joined(
        self, header: bytes, pieces: list[bytes | memoryview], at: i64, end: i64, step: i64
    ) -> bool:
        """Have the kernel cut datagrams apart again; return False where they have to be sent one by one."""
        sock = self._sock
        if sock is None or (step != self.segment and not self.set_segment(sock, step)):
            return False
        words: list[bytes | memoryview] = []
        for index in range(at, end):
            words.append(header)
            words.append(pieces[index])
        error = self._put(b"".join(words))
        if error == _EAGAIN or error == _ENOBUFS:
            self._context.counters.drop_several(UPSTREAM_FULL, end - at)
            return True
        if error == _EMSGSIZE:
            self.max_unit = step - 1
        elif error == _EINVAL or error == _EIO or error == _EOPNOTSUPP:
            self.max_unit = 0
        return error == 0

    def _put(self, data: bytes) -> int:
        """Send data; return an errno, 0 for none."""
        sock = self._sock
        if sock is None:
            return _ECONNREFUSED
        try:
            sock.send(data)
        except OSError as error:
            return error.errno or _EIO
        return 0

    def _send_one(self, path: Path, data: bytes, now: Micros) -> None:
        """Send one datagram, with its header; tell the client if that cannot be."""
        size = i64(len(data))
        sock = self._sock
        if size > self.segment and self.segment > 0 and sock is not None:  # the option would cut it
            self.set_segment(sock, 0)
        error = self._put(data)
        if error == 0:
            return
        mtu: i64 = 0
        if error != _EAGAIN and error != _ENOBUFS:  # else it is of an earlier datagram, perhaps
            mtu = self._read_errors(now)
            if error == _ECONNREFUSED:
                self._die()
            error = self._put(data)
            if error == 0:
                return
        context = self._context
        if error == _EAGAIN or error == _ENOBUFS:
            context.counters.drop(UPSTREAM_FULL)
            return
        context.counters.drop(REJECTED)
        header = i64(len(path.header))
        payload = data[header:]
        if error == _EMSGSIZE:
            quote = quote_datagram(context.outlet.scratch, path.ends, payload)
            context.icmp.too_big(path.ends, quote, (mtu or _MAX_PACKET) - header, now)
        else:
            context.refuse(path.ends, payload, error, now)

    def _refuse(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, error: int, now: Micros
    ) -> None:
        """Count what is not sent, and tell the client unless error is 0."""
        reason = REJECTED if error != 0 else TABLE_FULL
        self._context.counters.drop_several(reason, count_datagrams(size, unit))
        if error != 0:
            self._context.refuse(path.ends, bytes(payload[:unit] if unit > 0 else payload), error, now)

    # to the client

    def on_ready(self, events: i64, now: Micros) -> None:
        if events & ERROR and self.state == OPEN:
            self._read_errors(now)
        if events & READABLE and self.state == OPEN:
            self._receive(now)

    def _receive(self, now: Micros) -> None:
        """Read what is there, one call's worth, and send it on in as few frames as possible."""
        context = self._context
        receiver = context.receiver
        joiner = context.joiner
        sources = self.sources
        framing = self._framing
        count = receiver.receive(self._fd, SLOTS)
        if count < 0:
            self._read_errors(now)
            return
        self.used_at = now
        try:
            for index in range(count):
                total = receiver.length(index)
                unit = receiver.segment(index)
                if unit == 0 or unit > total:
                    unit = total
                at: i64 = 0
                while at < total:
                    end = min(at + unit, total)
                    off = sources.find(framing, receiver, index, at, end)
                    ends = sources.found
                    if ends is not None:
                        joiner.add(ends, receiver.payload(index, at + off, end), end - at - off)
                        if context.watcher is not None:
                            self._count(ends, end - at - off)
                    at = end
                if total == 0:
                    self._take_empty()
        except Exception as error:  # a plugin's framing must not end the packet path
            self._opener.on_spoiled(self._verdict.upstream, error)
            self.close()
        joiner.flush()

    def _count(self, ends: Endpoints, size: i64) -> None:
        """Note that the client has got size octets from there."""
        if ends is not self._counted_ends:
            self._counted_ends = ends
            key = BytesWriter()
            key.write(self.client)
            key.write(ends.source)
            put16(key, self._client_port)
            put16(key, ends.source_port)
            path = self.paths.get(key.getvalue())
            self._counted = path.life if path is not None else None
        life = self._counted
        if life is not None:
            life.down += size

    def _take_empty(self) -> None:
        """A datagram without an octet: of the one whom a bare socket talks to, or of nobody."""
        ends = self.sources.known.get(b"")
        if ends is None:
            self._context.counters.drop(NO_FLOW)
        else:
            self._context.joiner.add(ends, memoryview(b""), 0)

    def _read_errors(self, now: Micros) -> i64:
        """Pass on what the error queue holds; return the MTU that the host itself reports, 0 for none.

        Where nobody listens at the proxy's end any more, the way is over.
        """
        context = self._context
        sock = self._sock
        if sock is None:
            return 0
        found, mtu = take_errors(sock, _MAX_REPORTS)
        is_gone = False
        for queued in found:
            is_gone = is_gone or queued.errno == _ECONNREFUSED
            ends = self.sources.of_quote(self._framing, queued.payload)
            if ends is None:
                context.counters.drop(NO_FLOW)
            else:
                context.refuse(ends, queued.payload[self.sources.payload_off :], int(queued.errno), now)
        if is_gone:
            self._die()
        return mtu


@final
@mypyc_attr(native_class=True)
class _Opening(DatagramRequest):
    """What an opener holds of a way."""

    def __init__(self, way: ProxiedWay) -> None:
        self._way: Final = way

    def opened(self, sock: socket.socket, framing: Framing) -> None:
        self._way.on_opened(sock, framing, clock.now())

    def failed(self, error: int) -> None:
        self._way.on_failed(error, clock.now())

    def ended(self) -> None:
        self._way.on_ended()
