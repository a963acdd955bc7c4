"""One client's UDP port and the socket that stands for it in the outside world.

The mapping is endpoint-independent, and so is the filter (RFC 4787 REQ-1, REQ-8): whatever target the
client writes to, the datagrams leave from the same socket, and whoever writes to that socket reaches the
client. Applications that find each other through a third party depend on it.
"""

import errno
import socket
from collections.abc import Callable
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.carrier import MAX_PATHS, Carrier, count_datagrams
from tunproxy.datagram.context import Context
from tunproxy.datagram.error_queue import take_errors
from tunproxy.datagram.outlet import MAX_JOINED
from tunproxy.datagram.path import MAX_SEGMENTS, Path
from tunproxy.datagram.receiver import SLOTS
from tunproxy.datagram.sockaddr import address_of, name_of, pack, packed_of, port_of
from tunproxy.datagram.timeouts import idle_limit
from tunproxy.datagram.traits import UNSET, apply_traits
from tunproxy.flow.leaving import has_no_way
from tunproxy.flow.life import EVICTED
from tunproxy.flow.ports import ERROR, READABLE
from tunproxy.flow.targets import is_martian_target, is_multicast
from tunproxy.wire.bits import put16
from tunproxy.wire.icmp_error import quote_datagram
from tunproxy.wire.ip import UDP, Endpoints
from tunproxy.wire.reasons import MARTIAN_SOURCE, NO_FLOW, OK, REJECTED, TABLE_FULL, UPSTREAM_FULL

_EAGAIN: Final = errno.EAGAIN
_ENOBUFS: Final = errno.ENOBUFS
_EMSGSIZE: Final = errno.EMSGSIZE  # larger than the path's MTU
_EINVAL: Final = errno.EINVAL  # the same before Linux 6.11, or more pieces than the kernel cuts
_EIO: Final = errno.EIO  # the way out cannot sum the pieces
_EOPNOTSUPP: Final = errno.EOPNOTSUPP

# our choices
_MAX_REPORTS: Final = 64  # errors read in one go
_LEAST_MTU: Final[i64] = 1280  # what we name where the host names no MTU


@final
@mypyc_attr(native_class=True)
class Association(Carrier):
    """Owns sock, a non-blocking UDP socket that is bound by its first send; client is a packed address.

    Its paths are known by the kernel's names for the upstream ends.

    is_ipv6 is the socket's family, which differs from the client's where an address is mapped across;
    limit is how long it may be idle, to begin with.
    """

    def __init__(
        self,
        context: Context,
        key: bytes,
        client: bytes,
        client_port: i64,
        sock: socket.socket,
        is_ipv6: bool,
        limit: Micros,
        now: Micros,
    ) -> None:
        super().__init__(key, client, limit, now)
        self._context: Final = context
        self._client_port: Final = client_port
        self._sock: Final = sock
        self._fd: Final = sock.fileno()
        self._sendto: Final = sock.sendto
        self._is_ipv6: Final = is_ipv6
        self._is_closed: bool = False
        self._traits: i64 = UNSET
        context.associations[key] = self
        context.room.enter(self)
        context.poller.watch(self._fd, self, READABLE)

    # from the client

    def is_other(self, name: bytes, target: bytes, port: i64) -> bool:
        """Tell whether name stands for another target of the client's than this one."""
        path = self.paths.get(name)
        return path is not None and (path.ends.source != target or path.ends.source_port != port)

    def open_path(self, key: bytes, target: bytes, port: i64, address: tuple[str, int], now: Micros) -> Path:
        """Return a new path to address, which the client knows as target and port."""
        name = name_of(pack(address[0]), address[1])
        path = self._remember(key, name, address, target, port)
        self.idle_limit = max(self.idle_limit, idle_limit(port, self._context.udp_timeout))
        return path

    def flush(self, path: Path, now: Micros) -> None:
        parts = path.parts
        count = len(parts)
        total = path.total
        if count == 1:
            path.clear()
            self.send(path, parts[0], total, 0, path.traits, now)
        elif count > 1:
            path.clear()
            self.send(path, b"".join(parts), total, path.unit, path.traits, now)

    def send(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, traits: i64, now: Micros
    ) -> None:
        if self._is_closed:  # it gave way to somebody in this very batch, and had forgotten the path before
            self._context.counters.drop_several(TABLE_FULL, count_datagrams(size, unit))
            return
        if traits != self._traits:
            apply_traits(self._sock, self._is_ipv6, self._traits, traits)
            self._traits = traits
        if unit > self.max_unit:
            self._send_cut(path, payload, size, unit, now)
            return
        if unit > 0:
            if unit != self.segment and not self.set_segment(self._sock, unit):
                self._send_cut(path, payload, size, unit, now)
                return
        elif size > self.segment and self.segment > 0:  # the option would cut it
            self.set_segment(self._sock, 0)
        try:
            self._sendto(payload, path.address)
        except OSError as error:
            self._on_failure(path, payload, size, unit, error.errno or 0, now)

    def _on_failure(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, error: int, now: Micros
    ) -> None:
        """Send again what was not sent: without the kernel's cutting if that may be why, and one by one."""
        if error == _EAGAIN or error == _ENOBUFS:
            self._context.counters.drop_several(UPSTREAM_FULL, count_datagrams(size, unit))
            return
        self._read_errors(now)
        if unit > 0 and error == _EMSGSIZE:
            self.max_unit = unit - 1
        elif unit > 0 and (error == _EINVAL or error == _EIO or error == _EOPNOTSUPP):
            self.max_unit = 0
        self._send_cut(path, payload, size, unit, now)

    def _send_cut(self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, now: Micros) -> None:
        """Send payload in pieces of unit octets, with a system call for each, up to the first that fails."""
        if self.segment > 0:
            self.set_segment(self._sock, 0)
        if unit == 0:
            unit = max(size, 1)
        at: i64 = 0
        while at < size or at == 0:
            reason = self._send_one(path, payload[at : at + unit], now)
            if reason != OK:
                self._context.counters.drop_several(reason, count_datagrams(size - at, unit))
                return
            at += unit

    def _send_one(self, path: Path, payload: bytes | memoryview, now: Micros) -> i64:
        """Send one datagram; if it cannot be sent, tell the client, and return the reason.

        A pending error makes a send fail that it is not about, so that the first failure says nothing.
        """
        context = self._context
        error = 0
        mtu: i64 = 0
        for _ in range(2):
            try:
                self._sendto(payload, path.address)
                return OK
            except OSError as failure:
                error = failure.errno or 0
            if error == _EAGAIN or error == _ENOBUFS:
                return UPSTREAM_FULL
            mtu = self._read_errors(now)
        quote = quote_datagram(context.outlet.scratch, path.ends, bytes(payload))
        if error == _EMSGSIZE:
            context.icmp.too_big(path.ends, quote, mtu or _LEAST_MTU, now)
        else:
            context.icmp.refuse(path.ends, quote, error, now)
        return REJECTED

    # to the client

    def on_ready(self, events: i64, now: Micros) -> None:
        if events & ERROR:
            self._read_errors(now)
        if events & READABLE and not self._is_closed:
            self._receive(now)

    def _receive(self, now: Micros) -> None:
        """Read what is there, one call's worth, and send it on in as few frames as possible."""
        context = self._context
        receiver = context.receiver
        count = receiver.receive(self._fd, SLOTS)
        if count < 0:
            self._read_errors(now)
            return
        self.used_at = now
        index: i64 = 0
        while index < count:
            name = receiver.name(index)
            path = self.paths.get(name)
            if path is None:
                path = self._path_from(name)
            if path is None:
                index += 1
            else:
                at = index
                index = self._deliver(path.ends, index, count)
                life = path.life
                if life is not None:
                    while at < index:
                        life.down += receiver.length(at)
                        at += 1

    def _deliver(self, ends: Endpoints, index: i64, count: i64) -> i64:
        """Send datagram index to the client with those that may join it; return the first that did not."""
        receiver = self._context.receiver
        outlet = self._context.outlet
        total = receiver.length(index)
        unit = receiver.segment(index)
        if unit == 0 or unit > total:
            unit = total
        following = index + 1
        if not outlet.joins(ends, unit):
            at: i64 = 0
            while at < total or total == 0:
                end = min(at + unit, total)
                outlet.send(ends, receiver.payload(index, at, end))
                at += max(unit, 1)
                if total == 0:
                    break
            return following
        parts: list[bytes | memoryview] = [receiver.payload(index, 0, total)]
        is_short = total % unit != 0
        while following < count and not is_short and receiver.is_from_same(following, index):
            size = receiver.length(following)
            piece = receiver.segment(following)
            if piece == 0 or piece > size:
                piece = size
            if size == 0 or total + size > MAX_JOINED or total + size > unit * MAX_SEGMENTS:
                break
            if piece != unit and (size > unit or piece != size):
                break
            is_short = size % unit != 0
            parts.append(receiver.payload(following, 0, size))
            total += size
            following += 1
        if total > unit:
            outlet.send_joined(ends, parts, total, unit)
        else:
            outlet.send(ends, parts[0])
        return following

    def _path_from(self, name: bytes) -> Path | None:
        """Return a path for a peer that the client has not written to, or that was forgotten."""
        packed = packed_of(name)
        if is_martian_target(packed) or is_multicast(packed):  # nobody out there, but somebody on this host
            self._context.counters.drop(MARTIAN_SOURCE)
            return None
        if len(packed) != len(self.client):
            self._context.counters.drop(NO_FLOW)
            return None
        port = port_of(name)
        key = BytesWriter()
        key.write(self.client)
        key.write(packed)
        put16(key, self._client_port)
        put16(key, port)
        if self._context.asks_first():
            key.write(b"?")  # no datagram of the client's finds it: those are decided about, or served
        return self._remember(key.getvalue(), name, address_of(packed, port), packed, port)

    def _remember(self, key: bytes, name: bytes, address: tuple[str, int], target: bytes, port: i64) -> Path:
        ends = Endpoints(target, self.client, port, self._client_port, UDP)
        path = Path(key, name, address, ends, self)
        known = self.paths.get(name)
        if known is not None:
            self._context.forget(known)
        if len(self.paths) >= MAX_PATHS:
            self._context.forget(next(iter(self.paths.values())), EVICTED)
        self._context.remember(path)
        return path

    # errors and the end

    def _read_errors(self, now: Micros) -> i64:
        """Pass on what the error queue holds; return the MTU that the host itself reports, 0 for none."""
        context = self._context
        found, mtu = take_errors(self._sock, _MAX_REPORTS)
        for queued in found:
            dialled = pack(queued.host)
            path = self.paths.get(name_of(dialled, queued.port))
            if path is None:  # forgotten
                context.counters.drop(NO_FLOW)
                continue
            quote = quote_datagram(context.outlet.scratch, path.ends, queued.payload)
            context.icmp.pass_on(path.ends, quote, queued, dialled, now)
        return mtu

    def has_no_way(self, is_here: Callable[[str], bool]) -> bool:
        return has_no_way(self._sock, is_here)

    def give_way(self, now: Micros) -> None:
        for path in list(self.paths.values()):
            self.flush(path, now)
        self.close()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        context = self._context
        context.poller.forget(self._fd)
        self._sock.close()
        for path in list(self.paths.values()):
            context.forget(path)
        context.room.leave(self)
        del context.associations[self.key]
