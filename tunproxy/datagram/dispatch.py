"""Sends the datagrams of a new pair, a client's port and a target, where they have to go.

DIAL             an ``Association``: a socket of ours
OPEN, CONVERSE   a ``ProxiedWay``; or an ``Undecided``, where its opener is one who still has to decide
SNIFF            an ``Undecided``
"""

import errno
import socket
from typing import Final, final

from librt.strings import BytesWriter, write_i64_le
from mypy_extensions import i64, mypyc_attr, u8

from tunproxy.clock import Micros
from tunproxy.datagram.association import Association
from tunproxy.datagram.context import Context
from tunproxy.datagram.path import Path
from tunproxy.datagram.proxied import CLOSED, FAILED, WEIGHT, ProxiedWay
from tunproxy.datagram.sockaddr import name_of, pack
from tunproxy.datagram.timeouts import idle_limit
from tunproxy.datagram.undecided import Undecided
from tunproxy.flow.ports import FlowGuard, Opener, SocketMaker
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, SNIFF, FlowInfo, Verdict
from tunproxy.wire.bits import put16
from tunproxy.wire.reasons import MARTIAN_TARGET, OK, REJECTED, TABLE_FULL

_ECONNREFUSED: Final = errno.ECONNREFUSED
_EMFILE: Final = errno.EMFILE
_ENFILE: Final = errno.ENFILE
_INET: Final = int(socket.AF_INET)
_INET6: Final = int(socket.AF_INET6)

# our choice
MAX_TWINS: Final[i64] = 4  # carriers of one client's port for targets whose answers nobody could tell apart


@final
@mypyc_attr(native_class=True)
class Dispatch:
    """Makes paths and their carriers. opens says whether opener opens anything.

    After path_for returned None, reason says why there is no path, and error, an errno, what the client is
    told; 0 stands for nothing.
    """

    def __init__(self, context: Context, sockets: SocketMaker, opener: Opener | None) -> None:
        self.context: Final = context
        self.opener: Final = opener if opener is not None else Opener()
        self.opens: Final = opener is not None
        self.guard: FlowGuard | None = None
        self.reason: i64 = OK
        self.error: int = 0
        self._sockets: Final = sockets

    def path_for(
        self, key: bytes, info: FlowInfo, verdict: Verdict | None, is_heard: bool, now: Micros
    ) -> Path | None:
        """Return a new path, by verdict, or to the target where that is None.

        key is the pair as it stands in frames; is_heard says that the decider has seen the first datagrams.
        """
        kind = verdict.kind if verdict is not None else DIAL
        if kind == DIAL:
            return self._dial(key, info, verdict, now)
        assert verdict is not None
        if kind == SNIFF and not is_heard:
            return self._hear(key, info, now)
        if (kind == OPEN or kind == CONVERSE) and self.opens:
            if self.opener.is_undecided(verdict):
                return self._wait(key, info, verdict, now)
            return self._go_through(key, info, verdict, now)
        self._none(REJECTED, 0 if kind == DROP else _ECONNREFUSED)
        return None

    def _none(self, reason: i64, error: int) -> None:
        self.reason = reason
        self.error = error

    def _undecided(self, key: bytes, info: FlowInfo, now: Micros) -> Undecided:
        context = self.context
        context.room.make_room(info.client, now)
        return Undecided(self, key, info, context.udp_timeout, now)

    def _hear(self, key: bytes, info: FlowInfo, now: Micros) -> Path:
        undecided = self._undecided(key, info, now)
        undecided.hear(now)
        return undecided.path

    def _wait(self, key: bytes, info: FlowInfo, verdict: Verdict, now: Micros) -> Path:
        undecided = self._undecided(key, info, now)
        undecided.wait(verdict)
        return undecided.path  # which passes on where it has been settled at once

    # through a proxy

    def _go_through(self, key: bytes, info: FlowInfo, verdict: Verdict, now: Micros) -> Path | None:
        guard = self.guard
        if guard is not None and not guard.admits(info, verdict):
            self._none(REJECTED, _ECONNREFUSED)
            return None
        way = self._way(info, verdict, 0, now)
        twin: i64 = 1
        while twin < MAX_TWINS and not way.sources.takes(info.target_port, info.host, info.target):
            way = self._way(info, verdict, twin, now)
            twin += 1
        if way.state == FAILED:
            self._none(REJECTED, way.error)
            return None
        path = way.open_path(key, info)
        if way.is_new:
            way.begin(info)
            if way.state == FAILED or way.state == CLOSED:
                self._none(REJECTED, way.error)
                return None
        return path

    def _way(self, info: FlowInfo, verdict: Verdict, twin: i64, now: Micros) -> ProxiedWay:
        """Return the client's way through this upstream to targets of this family, a new one if need be.

        Where the upstream's ways each lead to one target, it is the way to this one.
        """
        out = BytesWriter()
        out.write(info.client)
        put16(out, info.client_port)
        write_i64_le(out, i64(id(verdict.opener)))
        out.append(u8(len(info.target)))
        out.append(u8(twin))
        if self.opener.is_per_target(verdict):
            out.write(info.target)
            put16(out, info.target_port)
        out.write(b"w")
        key = out.getvalue()
        context = self.context
        way = context.ways.get(key)
        if way is None:
            context.room.make_room(info.client, now, WEIGHT)
            limit = idle_limit(info.target_port, context.udp_timeout)
            way = ProxiedWay(context, self.opener, key, info.client, info.client_port, verdict, limit, now)
        return way

    # by a socket of ours

    def _dial(self, key: bytes, info: FlowInfo, verdict: Verdict | None, now: Micros) -> Path | None:
        target = info.target
        port = info.target_port
        address: tuple[str, int] | None
        if verdict is not None and verdict.address:
            address = (verdict.address, int(verdict.port or port))
        else:
            address = self.context.targets.resolve(target, port)
            if address is None:
                self._none(MARTIAN_TARGET, 0)
                return None
        name = name_of(pack(address[0]), address[1])
        is_ipv6 = ":" in address[0]
        twin: i64 = 0
        association = self._association(info, is_ipv6, twin, now)
        # Of targets that are sent to one address each needs a port of ours, or nobody could tell its answers.
        while association is not None and twin < MAX_TWINS and association.is_other(name, target, port):
            twin += 1
            association = self._association(info, is_ipv6, twin, now)
        if association is None:
            self._none(TABLE_FULL, 0)
            return None
        return association.open_path(key, target, port, address, now)

    def _association(self, info: FlowInfo, is_ipv6: bool, twin: i64, now: Micros) -> Association | None:
        """Return the client's association for targets of this family, a new one if need be.

        twin is 0 but for targets whose address another one of the client's has taken.
        """
        client = info.client
        out = BytesWriter()
        out.write(client)
        put16(out, info.client_port)
        out.write(b"6" if is_ipv6 else b"4")
        if twin > 0:
            out.append(u8(twin))
        key = out.getvalue()
        context = self.context
        association = context.associations.get(key)
        if association is not None:
            return association
        room = context.room
        room.make_room(client, now)
        for _ in range(2):
            try:
                sock = self._sockets.udp(_INET6 if is_ipv6 else _INET)
            except OSError as error:
                if error.errno != _EMFILE and error.errno != _ENFILE:
                    return None
                # out of descriptors, which somebody can spare
                room.send_away(client, now)
                continue
            limit = idle_limit(info.target_port, context.udp_timeout)
            return Association(context, key, client, info.client_port, sock, is_ipv6, limit, now)
        return None
