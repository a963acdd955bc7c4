"""ICMP echo through the host's ping sockets: every reply is a real one, and silence stays silence.

A session is one client and one identifier, which is one running ping. The kernel gives the session's socket
an identifier of its own; sequence numbers, payload and hop limits pass as they are, and so do errors.
"""

import errno
import socket
from collections.abc import Callable
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.context import Context
from tunproxy.datagram.error_queue import take_errors
from tunproxy.datagram.room import Guest, Room
from tunproxy.datagram.sockaddr import pack
from tunproxy.datagram.traits import UNSET, apply_traits, traits_of
from tunproxy.datagram.watching import begin, note_end, note_open, note_refused
from tunproxy.flow.leaving import has_no_way
from tunproxy.flow.life import CLOSED_BY_HAND, EVICTED, IDLE, FlowLife
from tunproxy.flow.ports import ERROR, READABLE, SocketMaker
from tunproxy.flow.verdict import DIAL, DROP, FlowInfo, Verdict
from tunproxy.wire.bits import put16, u16
from tunproxy.wire.icmp import (
    ECHO_REPLY,
    ECHO_REQUEST,
    HEADER_LEN,
    V6_ECHO_REPLY,
    V6_ECHO_REQUEST,
    emit_icmp,
)
from tunproxy.wire.icmp_error import quote_echo
from tunproxy.wire.ip import HOP_LIMIT, ICMP, ICMPV6, Endpoints, IpView
from tunproxy.wire.reasons import ECHO_FORBIDDEN, MARTIAN_TARGET, NO_FLOW, REJECTED, TABLE_FULL, UPSTREAM_FULL

_INET: Final = int(socket.AF_INET)
_INET6: Final = int(socket.AF_INET6)
_IPPROTO_IP: Final = int(socket.IPPROTO_IP)
_IPPROTO_IPV6: Final = int(socket.IPPROTO_IPV6)
_IP_TTL: Final = int(socket.IP_TTL)
_IP_RECVTTL: Final = 12  # linux/in.h: not in every Python's socket module
_IPV6_HOPLIMIT: Final = int(socket.IPV6_HOPLIMIT)
_IPV6_RECVHOPLIMIT: Final = int(socket.IPV6_RECVHOPLIMIT)
_EACCES: Final = errno.EACCES
_EAGAIN: Final = errno.EAGAIN
_ENOBUFS: Final = errno.ENOBUFS
_EMSGSIZE: Final = errno.EMSGSIZE
_MAX_MESSAGE: Final = 65536
_CONTROL_LEN: Final = 256

# our choices
MAX_SESSIONS: Final[i64] = 256  # a descriptor each
FAIR_SHARE: Final[i64] = 64  # a client address with more than that gives way when all are in use
IDLE_LIMIT: Final[Micros] = 10_000_000  # ping itself gives up on a reply after that time
_RETRY_AFTER: Final[Micros] = 30_000_000  # before a host that forbids ping sockets is asked again
_MAX_TARGETS: Final[i64] = 256  # of one session, that are remembered
_MAX_READS: Final = 16
_LEAST_MTU: Final[i64] = 1280


@final
@mypyc_attr(native_class=True)
class EchoTable:
    """All sessions, by client and identifier."""

    def __init__(self, context: Context, sockets: SocketMaker, max_sessions: i64 = MAX_SESSIONS) -> None:
        self._context: Final = context
        self._sockets: Final = sockets
        self._sessions: Final[dict[bytes, EchoSession]] = {}
        self._room: Final = Room(context.poller, context.counters, max_sessions, max_sessions, FAIR_SHARE)
        self._forbidden_until: Micros = -1

    def __len__(self) -> int:
        return len(self._sessions)

    def on_request(self, frame: bytes, view: IpView, now: Micros) -> None:
        """Send an echo request, which parse_icmp found OK and whose ends are one host each, to its target."""
        context = self._context
        size = view.address_len
        target = frame[view.dst_off : view.dst_off + size]
        client = frame[view.src_off : view.src_off + size]
        at = view.payload_off
        key = client + frame[at + 4 : at + 6]
        verdict = context.decisions.about_echo(key, client, target, now)
        info = context.decisions.asked
        if verdict is not None and verdict.kind != DIAL:
            if info is not None and context.watcher is not None:  # else it was told before
                note_refused(context, info, verdict, 0, now)
            context.counters.drop(REJECTED)
            if verdict.kind != DROP:
                self._refuse(frame, view, client, target, now)
            return
        address: tuple[str, int] | None
        if verdict is not None and verdict.address:
            address = (verdict.address, 0)
        else:
            address = context.targets.resolve(target, 0)
        if address is None:
            context.counters.drop(MARTIAN_TARGET)
            return
        is_ipv6 = ":" in address[0]
        if is_ipv6 != view.is_ipv6:  # the two families have no echo in common
            context.counters.drop(NO_FLOW)
            return
        session = self._sessions.get(key)
        if session is None:
            sock = self._socket(client, is_ipv6, now)
            if sock is None:
                return
            session = EchoSession(
                context, self._sessions, self._room, key, client, u16(frame, at + 4), sock, now
            )
        if context.watcher is not None:
            session.watch(target, address[0], info, verdict, now)
        session.request(
            target,
            address,
            u16(frame, at + 6),
            frame[at + HEADER_LEN : view.end],
            traits_of(view, context.outlet.mtu, False),
            now,
        )

    def _refuse(self, frame: bytes, view: IpView, client: bytes, target: bytes, now: Micros) -> None:
        """Tell the client that it may not."""
        context = self._context
        at = view.payload_off
        ends = Endpoints(target, client, 0, 0, ICMPV6 if view.is_ipv6 else ICMP)
        quote = quote_echo(
            context.outlet.scratch, ends, u16(frame, at + 4), u16(frame, at + 6), frame[at + 8 : view.end]
        )
        context.icmp.refuse(ends, quote, _EACCES, now)

    def lives(self) -> list[FlowLife]:
        """Return the pings that somebody watches and that are not over."""
        return [life for session in self._sessions.values() for life in session.lives.values()]

    def end(self, numbers: frozenset[int] | None) -> int:
        """End the watched pings of these numbers, all for None; return how many it were."""
        count = 0
        for session in list(self._sessions.values()):
            count += session.end(numbers)
        return count

    def cut_off(self, is_here: Callable[[str], bool]) -> int:
        """Close the sockets whose way out is gone; return how many. The next request opens another."""
        gone = [session for session in self._sessions.values() if session.has_no_way(is_here)]
        for session in gone:
            session.close()
        return len(gone)

    def close(self) -> None:
        """Close every socket."""
        for session in list(self._sessions.values()):
            session.close()

    def _socket(self, client: bytes, is_ipv6: bool, now: Micros) -> socket.socket | None:
        """Return a new ping socket; None if there is none to be had, which is counted."""
        counters = self._context.counters
        if now < self._forbidden_until:
            counters.drop(ECHO_FORBIDDEN)
            return None
        self._room.make_room(client, now)
        try:
            sock = self._sockets.ping(_INET6 if is_ipv6 else _INET)
        except PermissionError:
            self._forbidden_until = now + _RETRY_AFTER
            counters.drop(ECHO_FORBIDDEN)
            return None
        except OSError:
            counters.drop(TABLE_FULL)
            return None
        try:
            if is_ipv6:
                sock.setsockopt(_IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
            else:
                sock.setsockopt(_IPPROTO_IP, _IP_RECVTTL, 1)
        except OSError:
            pass  # replies then come with a hop limit of ours
        return sock


@final
@mypyc_attr(native_class=True)
class EchoSession(Guest):
    """Owns sock, a non-blocking ping socket of the client's family."""

    def __init__(
        self,
        context: Context,
        sessions: "dict[bytes, EchoSession]",
        room: Room,
        key: bytes,
        client: bytes,
        identifier: i64,
        sock: socket.socket,
        now: Micros,
    ) -> None:
        super().__init__(key, client, IDLE_LIMIT, now)
        self._context: Final = context
        self._sessions: Final = sessions
        self._room: Final = room
        self._identifier: Final = identifier
        self._sock: Final = sock
        self._is_ipv6: Final = len(client) == 16
        self._targets: Final[dict[bytes, Endpoints]] = {}  # by packed upstream address
        self.lives: Final[dict[bytes, FlowLife]] = {}  # where somebody watches, by packed upstream address
        self._traits: i64 = UNSET
        self._is_closed: bool = False
        sessions[key] = self
        room.enter(self)
        context.poller.watch(sock.fileno(), self, READABLE)

    def request(
        self, target: bytes, address: tuple[str, int], sequence: i64, payload: bytes, traits: i64, now: Micros
    ) -> None:
        """Ask address, which the client knows as target; tell the client if that cannot be sent."""
        self.used_at = now
        if len(self.lives) > 0:
            self._count(pack(address[0]), True, len(payload))
        context = self._context
        ends = self._remember(pack(address[0]), target)
        if traits != self._traits:
            apply_traits(self._sock, self._is_ipv6, self._traits, traits)
            self._traits = traits
        out = BytesWriter()
        put16(out, (V6_ECHO_REQUEST if self._is_ipv6 else ECHO_REQUEST) << 8)
        put16(out, 0)  # checksum and identifier are the kernel's
        put16(out, 0)
        put16(out, sequence)
        out.write(payload)
        message = out.getvalue()
        error = 0
        mtu: i64 = 0
        for _ in range(2):  # the first failure may be an error from earlier
            try:
                self._sock.sendto(message, (address[0], 0))
                return
            except OSError as failure:
                error = failure.errno or 0
            if error == _EAGAIN or error == _ENOBUFS:
                context.counters.drop(UPSTREAM_FULL)
                return
            mtu = self._read_errors(now)
        context.counters.drop(REJECTED)
        quote = quote_echo(context.outlet.scratch, ends, self._identifier, sequence, payload)
        if error == _EMSGSIZE:
            context.icmp.too_big(ends, quote, mtu or _LEAST_MTU, now)
        else:
            context.icmp.refuse(ends, quote, error, now)

    def watch(
        self, target: bytes, host: str, info: FlowInfo | None, verdict: Verdict | None, now: Micros
    ) -> None:
        """Give the pings of a target a life, if they have none; info is what was decided about."""
        dialled = pack(host)
        life = self.lives.get(dialled)
        if life is not None and life.info.target == target:
            return
        if life is None and len(self.lives) >= _MAX_TARGETS:
            dialled = next(iter(self.lives))
            life = self.lives[dialled]
        if life is not None:
            del self.lives[dialled]
            note_end(self._context, life, EVICTED)
            dialled = pack(host)
        if info is None:
            info = FlowInfo("icmp", self.client, 0, target, 0)
        life = begin(self._context, info, verdict, now)
        if life is not None:
            self.lives[dialled] = life
            note_open(self._context, life, now)

    def _count(self, dialled: bytes, is_up: bool, size: i64) -> None:
        life = self.lives.get(dialled)
        if life is not None:
            if is_up:
                life.up += size
            else:
                life.down += size

    def _remember(self, dialled: bytes, target: bytes) -> Endpoints:
        ends = self._targets.get(dialled)
        if ends is not None and ends.source == target:
            return ends
        if len(self._targets) >= _MAX_TARGETS:
            del self._targets[next(iter(self._targets))]
        ends = Endpoints(target, self.client, 0, 0, ICMPV6 if self._is_ipv6 else ICMP)
        self._targets[dialled] = ends
        return ends

    def on_ready(self, events: i64, now: Micros) -> None:
        if events & ERROR:
            self._read_errors(now)
        if not events & READABLE or self._is_closed:
            return
        for _ in range(_MAX_READS):
            try:
                message, control, _, address = self._sock.recvmsg(_MAX_MESSAGE, _CONTROL_LEN)
            except OSError:
                return
            self._on_reply(message, _hop_limit(control), pack(address[0]), now)

    def _on_reply(self, message: bytes, hop_limit: i64, replier: bytes, now: Micros) -> None:
        kind = V6_ECHO_REPLY if self._is_ipv6 else ECHO_REPLY
        ends = self._targets.get(replier)
        if ends is None or len(message) < HEADER_LEN or i64(message[0]) != kind:
            self._context.counters.drop(NO_FLOW)
            return
        self.used_at = now
        if len(self.lives) > 0:
            self._count(replier, False, len(message) - HEADER_LEN)
        outlet = self._context.outlet
        rest = (self._identifier << 16) | u16(message, 6)
        outlet.send_whole(
            ends, emit_icmp(outlet.scratch, ends, kind, 0, rest, message[HEADER_LEN:], hop_limit)
        )

    def _read_errors(self, now: Micros) -> i64:
        """Pass on what the error queue holds; return the MTU that the host itself reports, 0 for none."""
        context = self._context
        found, mtu = take_errors(self._sock, _MAX_READS)
        for queued in found:
            dialled = pack(queued.host)
            ends = self._targets.get(dialled)
            payload = queued.payload
            if ends is None or len(payload) < HEADER_LEN:  # a target that is forgotten
                context.counters.drop(NO_FLOW)
                continue
            quote = quote_echo(
                context.outlet.scratch, ends, self._identifier, u16(payload, 6), payload[HEADER_LEN:]
            )
            context.icmp.pass_on(ends, quote, queued, dialled, now)
        return mtu

    def has_no_way(self, is_here: Callable[[str], bool]) -> bool:
        """Tell whether the socket is bound to what is gone (``flow.leaving``)."""
        return has_no_way(self._sock, is_here)

    def give_way(self, now: Micros) -> None:
        self.close()

    def end(self, numbers: frozenset[int] | None) -> int:
        """End the pings of these numbers, all for None, and with the last one the session."""
        count = 0
        for dialled, life in list(self.lives.items()):
            if numbers is None or int(life.number) in numbers:
                count += 1
                del self.lives[dialled]
                note_end(self._context, life, CLOSED_BY_HAND)
        if count > 0 and len(self.lives) == 0:
            self.close()
        return count

    def close(self) -> None:
        """Close the socket and leave the table."""
        if not self._is_closed:
            self._is_closed = True
            self._context.poller.forget(self._sock.fileno())
            self._sock.close()
            for life in self.lives.values():
                note_end(self._context, life, IDLE)
            self.lives.clear()
            self._room.leave(self)
            del self._sessions[self.key]


def _hop_limit(control: list[tuple[int, int, bytes]]) -> i64:
    """Return the hop limit that a reply arrived with."""
    for level, kind, data in control:
        if (level == _IPPROTO_IP and kind == _IP_TTL) or (level == _IPPROTO_IPV6 and kind == _IPV6_HOPLIMIT):
            if len(data) > 0:
                return i64(data[0])
    return HOP_LIMIT
