"""A connected UDP socket to a proxy, with a header in front of each datagram (``flow.framing``).

All targets of a way go through the one socket, so that its mapping is as endpoint-independent as the proxy's.
Hop limit and don't-fragment of the client's packets say nothing of the way to the proxy, and stay here.
"""

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.context import Context
from tunproxy.datagram.error_queue import take_errors
from tunproxy.datagram.link import Link
from tunproxy.datagram.path import MAX_SEGMENTS, Path
from tunproxy.datagram.receiver import SLOTS, Receiver
from tunproxy.flow.framing import Framing
from tunproxy.flow.leaving import has_no_way
from tunproxy.flow.ports import ERROR, READABLE
from tunproxy.wire.icmp_error import quote_datagram
from tunproxy.wire.reasons import NO_FLOW, REJECTED, UPSTREAM_FULL

if TYPE_CHECKING:
    from tunproxy.datagram.proxied import ProxiedWay

MAX_DATAGRAM: Final[i64] = 65_507  # over IPv4
_MAX_PACKET: Final[i64] = 65_535
_EAGAIN: Final = errno.EAGAIN
_ENOBUFS: Final = errno.ENOBUFS
_EMSGSIZE: Final = errno.EMSGSIZE
_EINVAL: Final = errno.EINVAL
_EIO: Final = errno.EIO
_EOPNOTSUPP: Final = errno.EOPNOTSUPP
_ECONNREFUSED: Final = errno.ECONNREFUSED

# our choice
_MAX_REPORTS: Final = 64  # errors read in one go


@mypyc_attr(native_class=True)
class SocketLink(Link):
    """The link of way; sock is connected, and its opener's."""

    def __init__(self, way: "ProxiedWay", context: Context, sock: socket.socket, framing: Framing) -> None:
        self.way: Final = way
        self.context: Final = context
        self.framing: Final = framing
        self.is_closed: bool = False
        self._sock: Final = sock
        self._fd: Final[int] = sock.fileno()
        self._send: Final = sock.send

    def begin(self, now: Micros) -> None:
        self.context.poller.watch(self._fd, self, READABLE)

    def has_no_way(self, is_here: Callable[[str], bool]) -> bool:
        return has_no_way(self._sock, is_here)

    def outer_socket(self) -> socket.socket:
        return self._sock

    def close(self) -> None:
        self.is_closed = True
        self.context.poller.forget(self._fd)

    def add(self, path: Path) -> None:
        """Learn how datagrams to and from the target of path are marked."""
        ends = path.ends
        try:
            path.header = self.framing.header_for(ends.source, ends.source_port, path.host)
        except Exception as error:  # a plugin's framing must not end the packet path
            self.way.on_spoiled(error)
            return
        self.way.sources.learn(path.header, ends)

    # from the client

    def send_one(self, path: Path, payload: bytes, now: Micros) -> None:
        self.put_one(path, path.header + payload, payload, now)

    def send_several(self, path: Path, pieces: list[bytes | memoryview], unit: i64, now: Micros) -> None:
        header = path.header
        step = i64(len(header)) + unit
        most = min(MAX_SEGMENTS, MAX_DATAGRAM // step)
        count = len(pieces)
        at: i64 = 0
        while at < count:
            end = min(at + most, count)
            if end - at > 1 and step <= self.way.max_unit:
                words: list[bytes | memoryview] = []
                for index in range(at, end):
                    words.append(header)
                    words.append(pieces[index])
                if self.put_joined(words, end - at, step):
                    at = end
                    continue
            while at < end:
                piece = pieces[at]
                self.put_one(path, b"".join([header, piece]), piece, now)
                at += 1

    def put_joined(self, words: list[bytes | memoryview], count: i64, step: i64) -> bool:
        """Have the kernel cut words, which are count datagrams of step octets, apart again.

        Return False where they have to be sent one by one.
        """
        way = self.way
        if step != way.segment and not way.set_segment(self._sock, step):
            return False
        error = self._put(b"".join(words))
        if error == _EAGAIN or error == _ENOBUFS:
            self.context.counters.drop_several(UPSTREAM_FULL, count)
            return True
        if error == _EMSGSIZE:
            way.max_unit = step - 1
        elif error == _EINVAL or error == _EIO or error == _EOPNOTSUPP:
            way.max_unit = 0
        return error == 0

    def put_one(self, path: Path, data: bytes, payload: bytes | memoryview, now: Micros) -> None:
        """Send data, which stands for payload; tell the client if that cannot be."""
        way = self.way
        if way.segment > 0 and i64(len(data)) > way.segment:  # the option would cut it
            way.set_segment(self._sock, 0)
        error = self._put(data)
        if error == 0:
            return
        mtu: i64 = 0
        if error != _EAGAIN and error != _ENOBUFS:  # else it is of an earlier datagram, perhaps
            mtu = self.read_errors(now)
            if error == _ECONNREFUSED:
                way.die()
            error = self._put(data)
            if error == 0:
                return
        context = self.context
        if error == _EAGAIN or error == _ENOBUFS:
            context.counters.drop(UPSTREAM_FULL)
            return
        context.counters.drop(REJECTED)
        if error == _EMSGSIZE:
            quote = quote_datagram(context.outlet.scratch, path.ends, bytes(payload))
            added = i64(len(data)) - i64(len(payload))
            context.icmp.too_big(path.ends, quote, (mtu or _MAX_PACKET) - added, now)
        else:
            context.refuse(path.ends, bytes(payload), error, now)

    def _put(self, data: bytes) -> int:
        """Send data; return an errno, 0 for none."""
        if self.is_closed:
            return _ECONNREFUSED
        try:
            self._send(data)
        except OSError as error:
            return error.errno or _EIO
        return 0

    # to the client

    def on_ready(self, events: i64, now: Micros) -> None:
        if events & ERROR:
            self.read_errors(now)
        if events & READABLE and not self.is_closed:
            self._receive(now)

    def _receive(self, now: Micros) -> None:
        """Read what is there, one call's worth, and send it on in as few frames as possible."""
        context = self.context
        receiver = context.receiver
        count = receiver.receive(self._fd, SLOTS)
        if count < 0:
            self.read_errors(now)
            return
        self.way.used_at = now
        try:
            for index in range(count):
                total = receiver.length(index)
                unit = receiver.segment(index)
                if unit == 0 or unit > total:
                    unit = total
                at: i64 = 0
                while at < total:
                    end = min(at + unit, total)
                    self.take(receiver, index, at, end, now)
                    at = end
                if total == 0:
                    self.take_empty(now)
        except Exception as error:  # a plugin's framing must not end the packet path
            self.way.on_spoiled(error)
            self.way.close()
        context.joiner.flush()

    def take(self, receiver: Receiver, index: i64, at: i64, end: i64, now: Micros) -> None:
        """Send octets at to end of datagram index, which are one of the proxy's datagrams, to the client."""
        way = self.way
        off = way.sources.find(self.framing, receiver, index, at, end)
        ends = way.sources.found
        if ends is not None:
            self.context.joiner.add(ends, receiver.payload(index, at + off, end), end - at - off)
            if self.context.watcher is not None:
                way.tally.add(ends, end - at - off)

    def take_empty(self, now: Micros) -> None:
        """A datagram without an octet: of the one whom a bare socket talks to, or of nobody."""
        ends = self.way.sources.known.get(b"")
        if ends is None:
            self.context.counters.drop(NO_FLOW)
        else:
            self.context.joiner.add(ends, memoryview(b""), 0)

    # errors

    def read_errors(self, now: Micros) -> i64:
        """Pass on what the error queue holds; return the MTU that the host itself reports, 0 for none.

        Where nobody listens at the proxy's end any more, the way is over.
        """
        if self.is_closed:
            return 0
        found, mtu = take_errors(self._sock, _MAX_REPORTS)
        is_gone = False
        for queued in found:
            is_gone = is_gone or queued.errno == _ECONNREFUSED
            self.on_report(queued.payload, int(queued.errno), now)
        if is_gone:
            self.way.die()
        return mtu

    def on_report(self, sent: bytes, error: int, now: Micros) -> None:
        """Pass on that what we sent, of which this is the beginning, did not arrive."""
        sources = self.way.sources
        ends = sources.of_quote(self.framing, sent)
        if ends is None:
            self.context.counters.drop(NO_FLOW)
        else:
            self.context.refuse(ends, sent[sources.payload_off :], error, now)
