"""The table of UDP associations, and the door for everything that is neither TCP nor a fragment.

A datagram finds its path, which is one client and one target, by the raw run of octets that holds both
addresses and both ports: one slice and one look-up, after which nothing has to be decided again.
"""

import errno
import socket
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.association import Association
from tunproxy.datagram.context import Context
from tunproxy.datagram.echo import EchoTable
from tunproxy.datagram.path import Path
from tunproxy.datagram.timeouts import idle_limit
from tunproxy.datagram.traits import traits_of
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import FrameSink, Poller, SocketMaker
from tunproxy.flow.targets import Targets, is_martian_target, is_multicast
from tunproxy.wire.bits import u16
from tunproxy.wire.icmp import is_echo_request, parse_icmp
from tunproxy.wire.ip import ICMPV6, IpView
from tunproxy.wire.reasons import (
    BAD_LENGTH,
    LAND,
    MARTIAN_SOURCE,
    MARTIAN_TARGET,
    MULTICAST,
    OK,
    TABLE_FULL,
    UNHANDLED_ICMP,
    UNKNOWN_PROTOCOL,
)
from tunproxy.wire.udp import HEADER_LEN, parse_udp
from tunproxy.wire.vnet import GSO_NONE, GSO_UDP_L4, gso_size, gso_type, is_verified

_EMFILE: Final = errno.EMFILE
_ENFILE: Final = errno.ENFILE
_INET: Final = int(socket.AF_INET)
_INET6: Final = int(socket.AF_INET6)

# our choice
MAX_ASSOCIATIONS: Final[i64] = 4096  # a descriptor each


@final
@mypyc_attr(native_class=True)
class DatagramTable:
    """All UDP associations and echo sessions of one stack.

    udp_timeout is the longest an idle association stays; mtu is the device's, and has_uso4 and has_uso6 say
    whether it takes several datagrams in one frame.
    """

    def __init__(
        self,
        sink: FrameSink,
        poller: Poller,
        sockets: SocketMaker,
        targets: Targets,
        counters: Counters,
        udp_timeout: Micros,
        mtu: i64 = 1500,
        has_uso4: bool = False,
        has_uso6: bool = False,
        max_associations: i64 = MAX_ASSOCIATIONS,
    ) -> None:
        context = Context(
            sink, poller, targets, counters, udp_timeout, mtu, has_uso4, has_uso6, max_associations
        )
        self._context: Final = context
        self._paths: Final = context.paths
        self._associations: Final = context.associations
        self._sockets: Final = sockets
        self._targets: Final = targets
        self._counters: Final = counters
        self._mtu: Final = mtu
        self._echo: Final = EchoTable(context, sockets)
        self._gathered: list[Path] = []  # paths that may have datagrams to send

    def __len__(self) -> int:
        return len(self._associations)

    def on_udp(self, frame: bytes, view: IpView, now: Micros) -> None:
        """Process a UDP datagram, or several in one super-packet. They leave at end_batch or before."""
        kind = gso_type(frame)
        reason = parse_udp(frame, view, is_verified(frame), kind == GSO_UDP_L4)
        if reason != OK or (kind != GSO_NONE and kind != GSO_UDP_L4):
            self._counters.drop(reason if reason != OK else BAD_LENGTH)
            return
        at = view.payload_off
        addresses_end = view.src_off + 2 * view.address_len
        if addresses_end == at:
            key = frame[view.src_off : at + 4]
        else:  # options or extension headers in between
            key = frame[view.src_off : addresses_end] + frame[at : at + 4]
        path = self._paths.get(key)
        if path is None:
            path = self._open(frame, view, key, now)
            if path is None:
                return
        association = path.association
        association.used_at = now
        at += HEADER_LEN
        size = view.end - at
        unit = gso_size(frame) if kind == GSO_UDP_L4 else 0
        if 0 < unit < size:
            association.flush(path, now)
            association.send(
                path, memoryview(frame)[at : view.end], size, unit, traits_of(view, self._mtu, True), now
            )
            return
        traits = traits_of(view, self._mtu, False)
        if not path.is_listed:
            path.is_listed = True
            self._gathered.append(path)
        elif not path.takes(size, traits):
            association.flush(path, now)
        path.add(frame[at : view.end], size, traits)

    def on_icmp(self, frame: bytes, view: IpView, now: Micros) -> None:
        """Process an ICMP or ICMPv6 message. Only echo requests are for anybody out there."""
        if (view.protocol == ICMPV6) != view.is_ipv6:  # each family has its own
            self._counters.drop(UNKNOWN_PROTOCOL)
            return
        reason = parse_icmp(frame, view, is_verified(frame))
        if reason == OK:
            if is_echo_request(frame, view):
                reason = self._check_ends(
                    frame[view.src_off : view.src_off + view.address_len],
                    frame[view.dst_off : view.dst_off + view.address_len],
                )
            else:
                reason = UNHANDLED_ICMP
        if reason == OK:
            self._echo.on_request(frame, view, now)
        else:
            self._counters.drop(reason)

    def end_batch(self, now: Micros) -> None:
        """Send what was gathered since the last call."""
        if len(self._gathered) > 0:
            gathered = self._gathered
            self._gathered = []
            for path in gathered:
                path.is_listed = False
                path.association.flush(path, now)

    def close(self) -> None:
        """Close every socket; datagrams that were not sent are lost."""
        for association in list(self._associations.values()):
            association.close()
        self._echo.close()

    def _open(self, frame: bytes, view: IpView, key: bytes, now: Micros) -> Path | None:
        """Make the path of a client's first datagram to a target, and the association if there is none."""
        size = view.address_len
        client = frame[view.src_off : view.src_off + size]
        target = frame[view.dst_off : view.dst_off + size]
        port = u16(frame, view.payload_off + 2)
        reason = self._check_ends(client, target)
        if reason != OK:
            self._counters.drop(reason)
            return None
        address = self._targets.resolve(target, port)
        if address is None:
            self._counters.drop(MARTIAN_TARGET)
            return None
        association = self._association(frame, view, client, ":" in address[0], now)
        if association is None:
            self._counters.drop(TABLE_FULL)
            return None
        return association.open_path(key, target, port, address, now)

    def _check_ends(self, client: bytes, target: bytes) -> i64:
        if is_multicast(target):
            return MULTICAST
        if is_multicast(client) or is_martian_target(client):
            return MARTIAN_SOURCE
        return LAND if client == target else OK

    def _association(
        self, frame: bytes, view: IpView, client: bytes, is_ipv6: bool, now: Micros
    ) -> Association | None:
        """Return the client's association for targets of this family, a new one if need be."""
        at = view.payload_off
        key = client + frame[at : at + 2] + (b"6" if is_ipv6 else b"4")
        association = self._associations.get(key)
        if association is not None:
            return association
        room = self._context.room
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
            limit = idle_limit(u16(frame, at + 2), self._context.udp_timeout)
            return Association(self._context, key, client, u16(frame, at), sock, is_ipv6, limit, now)
        return None
