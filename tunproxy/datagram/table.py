"""The table of UDP associations, and the door for everything that is neither TCP nor a fragment.

A datagram finds its path, which is one client and one target, by the raw run of octets that holds both
addresses and both ports: one slice and one look-up, after which nothing has to be decided again.
"""

import socket
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.carrier import Carrier
from tunproxy.datagram.context import Context
from tunproxy.datagram.decisions import Decisions
from tunproxy.datagram.dispatch import Dispatch
from tunproxy.datagram.echo import MAX_SESSIONS, EchoTable
from tunproxy.datagram.path import Path
from tunproxy.datagram.proxied import ProxiedWay
from tunproxy.datagram.service import Desk
from tunproxy.datagram.traits import traits_of
from tunproxy.datagram.watching import note_path, note_refused
from tunproxy.flow.counters import Counters
from tunproxy.flow.life import CLOSED_BY_HAND, ENDED, LOOPING, FlowLife
from tunproxy.flow.ports import (
    DatagramService,
    Decider,
    FlowGuard,
    FlowWatcher,
    FrameSink,
    Opener,
    Poller,
    SocketMaker,
)
from tunproxy.flow.targets import Targets, is_martian_target, is_multicast
from tunproxy.flow.verdict import FlowInfo
from tunproxy.wire.bits import u16
from tunproxy.wire.icmp import is_echo_request, parse_icmp
from tunproxy.wire.ip import ICMPV6, UDP, Endpoints, IpView
from tunproxy.wire.reasons import (
    BAD_LENGTH,
    LAND,
    MARTIAN_SOURCE,
    MULTICAST,
    OK,
    UNHANDLED_ICMP,
    UNKNOWN_PROTOCOL,
)
from tunproxy.wire.udp import HEADER_LEN, parse_udp
from tunproxy.wire.vnet import GSO_NONE, GSO_UDP_L4, gso_size, gso_type, is_verified

# our choice
MAX_ASSOCIATIONS: Final[i64] = 4096  # a descriptor each


@final
@mypyc_attr(native_class=True)
class DatagramTable:
    """All UDP associations and echo sessions of one stack.

    udp_timeout is the longest an idle association stays; mtu is the device's, and has_uso4 and has_uso6 say
    whether it takes several datagrams in one frame. max_associations and max_sessions (of echo) bound the
    descriptors that we hold. Without a decider everything goes to its own target. A service answers
    the datagrams to its port, which nobody decides about. Without an opener nothing goes through a proxy.
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
        max_sessions: i64 = MAX_SESSIONS,
        decider: Decider | None = None,
        service: DatagramService | None = None,
        opener: Opener | None = None,
        watcher: FlowWatcher | None = None,
    ) -> None:
        decisions = Decisions(decider, opener is not None)
        context = Context(
            sink,
            poller,
            targets,
            counters,
            udp_timeout,
            mtu,
            has_uso4,
            has_uso6,
            max_associations,
            decisions,
            has_service=service is not None,
            watcher=watcher,
        )
        self._desk: Final = Desk(context.outlet, service) if service is not None else None
        self._context: Final = context
        self._paths: Final = context.paths
        self._associations: Final = context.associations
        self._dispatch: Final = Dispatch(context, sockets, opener)
        self._counters: Final = counters
        self._mtu: Final = mtu
        self._echo: Final = EchoTable(context, sockets, max_sessions)
        self._gathered: list[Path] = []  # paths that may have datagrams to send

    def __len__(self) -> int:
        return len(self._associations)

    def on_new_policy(self) -> None:
        """Take note that the decider says something else from now on; paths that there are stay."""
        self._context.decisions.on_new_policy()

    def statistics(self) -> dict[str, int]:
        """Return how many associations, ways through proxies, paths and echo sessions there are now."""
        return {
            "associations": len(self._associations),
            "ways": len(self._context.ways),
            "paths": len(self._paths),
            "echo_sessions": len(self._echo),
        }

    def lives(self) -> list[FlowLife]:
        """Return the flows that somebody watches and that are not over."""
        found = [path.life for path in self._paths.values() if path.life is not None]
        return found + self._echo.lives()

    def guard_by(self, guard: FlowGuard) -> None:
        """Have guard look at the pairs that are about to go to a proxy, from now on."""
        self._dispatch.guard = guard

    def idle_lives(self) -> list[FlowLife]:
        """Return the watched UDP flows that go through a proxy, and have brought nothing yet."""
        found: list[FlowLife] = []
        for path in self._paths.values():
            life = path.life
            if life is not None and life.down == 0 and isinstance(path.carrier, ProxiedWay):
                found.append(life)
        return found

    def ways_to(self, target: bytes, port: i64) -> list[socket.socket]:
        """Return the sockets by which such flows to a target go to their proxies."""
        found: list[socket.socket] = []
        for path in self._idle_to(target, port):
            carrier = path.carrier
            sock = carrier.outer_socket() if isinstance(carrier, ProxiedWay) else None
            if sock is not None:
                found.append(sock)
        return found

    def idle_to(self, target: bytes, port: i64) -> i64:
        """Return how many such flows to a target there are."""
        return len(self._idle_to(target, port))

    def cut_loop(self, target: bytes, port: i64) -> int:
        """End these flows; return how many it were. Call it between batches."""
        found = self._idle_to(target, port)
        for path in found:
            self._context.forget(path, LOOPING)
            if len(path.carrier.paths) == 0:
                path.carrier.close()
        return len(found)

    def _idle_to(self, target: bytes, port: i64) -> list[Path]:
        found: list[Path] = []
        for path in self._paths.values():
            ends = path.ends
            if ends.source == target and ends.source_port == port and isinstance(path.carrier, ProxiedWay):
                if path.life is None or path.life.down == 0:
                    found.append(path)
        return found

    def life_of(self, key: bytes) -> FlowLife | None:
        """Return the UDP flow whose client's frames have this run of addresses and ports; None for none."""
        path = self._paths.get(key)
        return path.life if path is not None else None

    def pings(self) -> list[FlowLife]:
        """Return the pings that somebody watches and that are not over."""
        return self._echo.lives()

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
        carrier = path.carrier
        carrier.used_at = now
        at += HEADER_LEN
        size = view.end - at
        if path.life is not None:
            path.life.up += size
        unit = gso_size(frame) if kind == GSO_UDP_L4 else 0
        if 0 < unit < size:
            carrier.flush(path, now)
            carrier.send(
                path, memoryview(frame)[at : view.end], size, unit, traits_of(view, self._mtu, True), now
            )
            return
        traits = traits_of(view, self._mtu, False)
        if not path.is_listed:
            path.is_listed = True
            self._gathered.append(path)
        elif not path.takes(size, traits):
            carrier.flush(path, now)
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
                path.carrier.flush(path, now)

    def cut_off(self, is_here: Callable[[str], bool]) -> int:
        """Close the sockets and ways whose way out is gone; return how many. The next datagram opens another.

        is_here tells of an address whether it is this host's. An association has none: each datagram leaves
        from the address that is right for it.
        """
        context = self._context
        gone: list[Carrier] = [each for each in context.associations.values() if each.has_no_way(is_here)]
        gone.extend([each for each in context.ways.values() if each.has_no_way(is_here)])
        for carrier in gone:
            carrier.close()
        return len(gone) + self._echo.cut_off(is_here)

    def close(self) -> None:
        """Close every socket; what was not sent is lost, and so is what a service answers later."""
        if self._desk is not None:
            self._desk.is_closed = True
        context = self._context
        for path in list(context.paths.values()):
            context.forget(path, ENDED)
        for association in list(context.associations.values()):
            association.close()
        for undecided in list(context.undecided.values()):
            undecided.close()
        for way in list(context.ways.values()):
            way.close()
        self._echo.close()

    def end(self, numbers: frozenset[int] | None) -> int:
        """End the watched flows of these numbers, all for None; return how many it were.

        Call it between batches. The next datagram of such a pair begins another flow.
        """
        count = self._echo.end(numbers)
        for path in list(self._paths.values()):
            life = path.life
            if life is not None and (numbers is None or int(life.number) in numbers):
                count += 1
                self._context.forget(path, CLOSED_BY_HAND)
                if len(path.carrier.paths) == 0:
                    path.carrier.close()
        return count

    def _open(self, frame: bytes, view: IpView, key: bytes, now: Micros) -> Path | None:
        """Make the path of a client's first datagram to a target, and its carrier if there is none.

        What a service answers gets no path, so that each of its datagrams comes here.
        """
        size = view.address_len
        client = frame[view.src_off : view.src_off + size]
        target = frame[view.dst_off : view.dst_off + size]
        port = u16(frame, view.payload_off + 2)
        reason = self._check_ends(client, target)
        if reason != OK:
            self._counters.drop(reason)
            return None
        desk = self._desk
        if desk is not None and desk.takes(target, port):
            desk.hand_over(
                frame, view, client, target, port, gso_size(frame) if gso_type(frame) == GSO_UDP_L4 else 0
            )
            return None
        decisions = self._context.decisions
        info = FlowInfo("udp", client, u16(frame, view.payload_off), target, port)
        verdict = decisions.about_path(key, info, now)
        dispatch = self._dispatch
        path = dispatch.path_for(key, info, verdict, False, now)
        if self._context.watcher is not None:
            if path is not None:
                note_path(self._context, path, info, verdict, now)
            elif decisions.asked is info:  # else it was refused before
                note_refused(self._context, info, verdict, dispatch.error, now)
        if path is None:
            self._counters.drop(dispatch.reason)
            if dispatch.error != 0:
                self._refuse(frame, view, info, dispatch.error, now)
        return path

    def _refuse(self, frame: bytes, view: IpView, info: FlowInfo, error: int, now: Micros) -> None:
        """Tell the client that its datagram did not get there."""
        at = view.payload_off + HEADER_LEN
        end = view.end
        if gso_type(frame) == GSO_UDP_L4:
            end = min(end, at + gso_size(frame))
        ends = Endpoints(info.target, info.client, info.target_port, info.client_port, UDP)
        self._context.refuse(ends, frame[at:end], error, now)

    def _check_ends(self, client: bytes, target: bytes) -> i64:
        if is_multicast(target):
            return MULTICAST
        if is_multicast(client) or is_martian_target(client):
            return MARTIAN_SOURCE
        return LAND if client == target else OK
