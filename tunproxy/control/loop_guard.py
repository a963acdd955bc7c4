"""Cuts loops: a proxy on this host whose own connections come back to us, and go to it again.

    program ─▶ TUN ─▶ worker ─▶ proxy on this host ─▶ TUN ─▶ worker ─▶ the same proxy ─▶ …

Each turn is another connection, so that a loop has used up memory and descriptors within seconds. Our own
sockets stay out by the policy rules; those of a foreign program do so only where the user has excluded it.

What a loop looks like is many connections to one target at once, none of which has brought an octet; so does
a download manager that begins. What tells them apart is whose they are, so that is asked, of the last of
them, and of the proxy's end of one of ours. Where both are the same program, they are refused for a while,
and people are told whose they are.

Datagrams loop as well. Where the proxy opens a port for each client, each turn is another flow, as above;
where it sends everything from one port, the same flow grows without an answer (``udp_loops``).

Only flows that go to a proxy on this host are looked at, which costs such a flow a look-up. Where we serve
others as well, the proxy may be in a container, or behind this host: then nobody here knows whose its
connections are. They come from the proxy's own address, or, where that is masqueraded, from one of ours. A
proxy that is reached by the way out of this host is none of these.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from tunproxy.control.udp_loops import UdpLoops
from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.ports import FlowGuard
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.flow.verdict import CONVERSE, FlowInfo, Verdict
from tunproxy.host.process import Process
from tunproxy.logs.about import about
from tunproxy.upstream.opening import Yielding
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.types import URL_NAME

# our choices
MANY: Final = 50  # flows to one target within WINDOW, none of which has brought anything: then we ask
WINDOW: Final = 3.0  # seconds: what waits longer than that is given up by who waits
UNKNOWN_MANY: Final = 200  # the same where nobody knows whose they are: then they are refused without
PAUSE: Final = 60.0  # seconds for which a target is not looked at again, whose flows are no loop
RETRY: Final = 0.2  # the same where it could not be told
QUARANTINE: Final = 10.0  # seconds for which flows of a loop are refused
SHOWN: Final = 600.0  # seconds for which status tells of one
MAX_TARGETS: Final = 1024  # that are counted

_log: Final = logging.getLogger(__name__)

Target = tuple[str, bytes, int]  # protocol, address, port


class Owners(Protocol):
    """Who knows whose a flow is (``control.owners``)."""

    async def search(
        self, network: str, source: bytes, source_port: int, target: bytes, port: int
    ) -> Process: ...


@dataclass
class _Count:
    """Flows to one target through proxies on this host: how many since when, and what is known of them."""

    since: float
    flows: int = 0
    quiet_until: float = 0.0
    refused_until: float = 0.0
    is_asked: bool = False


class LoopGuard(FlowGuard):
    """is_here tells which addresses are this host's. clock is in seconds and never goes back.

    serves_others says that what this host forwards is captured, too. is_way_out tells of an address of this
    host whether what leaves from there leaves by the way out.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        yielding: Yielding,
        tcp: TcpTable,
        owners: Owners,
        is_here: Callable[[str], bool],
        *,
        datagrams: DatagramTable | None = None,
        serves_others: bool = False,
        is_way_out: Callable[[str], bool] = lambda address: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._loop: Final = loop
        self._yielding: Final = yielding
        self._tcp: Final = tcp
        self._owners: Final = owners
        self._is_here: Final = is_here
        self._serves_others: Final = serves_others
        self._is_way_out: Final = is_way_out
        self._clock: Final = clock
        self._counts: Final[OrderedDict[Target, _Count]] = OrderedDict()
        self._found: Final[dict[str, tuple[str, float]]] = {}  # by upstream: what was told, and when
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self.cut = 0  # flows
        self._datagrams: Final = datagrams
        self._udp: Final = UdpLoops(loop, datagrams, self._suspect) if datagrams is not None else None

    def admits(self, info: FlowInfo, verdict: Verdict) -> bool:
        least = self._least(verdict)
        if not least:
            return True
        now = self._clock()
        count = self._count(info, now)
        if now < count.refused_until:
            self.cut += 1
            return False
        count.flows += 1
        if self._udp is not None and info.protocol == "udp":
            self._udp.look()
        if count.flows >= least:
            self._ask(info, verdict, count, least)
        return True

    def _ask(self, info: FlowInfo, verdict: Verdict, count: _Count, least: int) -> None:
        """Have it found out whether least flows, or more, are a loop, unless that was done just now."""
        if count.is_asked or self._clock() < count.quiet_until:
            return
        count.is_asked = True
        task = self._loop.create_task(self._examine(info, verdict, count, least), name="loop?")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._yielding.yield_loop()

    def _suspect(self, info: FlowInfo, verdict: Verdict) -> None:
        """Look at one flow that sends and sends, and hears nothing."""
        if self._least(verdict):
            self._ask(info, verdict, self._count(info, self._clock()), 1)

    def document(self) -> dict[str, object]:
        """Return what ``status`` shows: flows that were cut, and the loops of late, in words."""
        now = self._clock()
        return {"cut": self.cut, "last": [words for words, at in self._found.values() if now - at < SHOWN]}

    def added_to(self, snapshot: Callable[[], dict[str, object]]) -> Callable[[], dict[str, object]]:
        """Return a function that adds that to what another returns."""
        return lambda: {**snapshot(), "loops": self.document()}

    def close(self) -> None:
        """Ask nothing any more."""
        if self._udp is not None:
            self._udp.close()
        for task in self._tasks:
            task.cancel()

    def _least(self, verdict: Verdict) -> int:
        """Return how many flows to a target are looked at; 0 where none is, as its proxy is far away.

        Of flows to a proxy that is not on this host only very many, which are nobody's, are a loop.
        """
        where = proxy_of(verdict)
        if where is None:
            return 0
        return MANY if self._is_local(where[0]) else UNKNOWN_MANY if self._serves_others else 0

    def _is_local(self, host: str) -> bool:
        if host == "localhost":
            return True
        try:
            return self._is_here(host)
        except ValueError:  # a name
            return False

    def _count(self, info: FlowInfo, now: float) -> _Count:
        key = (info.protocol, info.target, int(info.target_port))
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count(now)
            while len(self._counts) > MAX_TARGETS:
                self._counts.popitem(last=False)
        elif now - count.since > WINDOW:
            count.since, count.flows = now, 0
        return count

    async def _examine(self, info: FlowInfo, verdict: Verdict, count: _Count, least: int) -> None:
        """Find out whether flows to this target are a loop, and cut it; never raises."""
        pause = RETRY
        try:
            waiting = self._waiting(info)
            if waiting < least:
                return
            client = await self._owners.search(
                info.protocol, info.client, info.client_port, info.target, info.target_port
            )
            proxy = await self._proxy_behind(info)
            who = _same(client, proxy)
            if who or (waiting >= UNKNOWN_MANY and self._may_be_of(verdict, info, client, proxy)):
                self._cut(info, verdict, client, who, count)
            elif client.pid >= 0 and proxy is not None:
                pause = PAUSE
        except Exception:  # must not end the packet path
            _log.exception("cannot find out whether there is a loop")
        finally:
            count.is_asked = False
            count.quiet_until = self._clock() + pause

    def _may_be_of(self, verdict: Verdict, info: FlowInfo, client: Process, proxy: Process | None) -> bool:
        """Tell whether flows of a client whom nobody knows may be those of the proxy they go to."""
        where = proxy_of(verdict)
        if client.pid >= 0 or where is None:
            return False
        is_local = self._is_local(where[0])
        if proxy is None and is_local:
            return True
        if not self._serves_others or not (is_local or self._is_behind(info)):
            return False
        address = socket.inet_ntop(info.family, info.client)
        return address == where[0] or self._is_here(address)

    def _is_behind(self, info: FlowInfo) -> bool:
        """Tell whether the proxy of these flows is on a link other than the way out of this host."""
        for sock in self._ways(info):
            with contextlib.suppress(OSError):  # closed in this moment
                return not self._is_way_out(str(sock.getsockname()[0]))
        return False

    def _waiting(self, info: FlowInfo) -> int:
        """Return how many flows to a target have brought nothing."""
        if info.protocol == "tcp":
            return len(self._tcp.idle_to(info.target, info.target_port))
        datagrams = self._datagrams
        return int(datagrams.idle_to(info.target, info.target_port)) if datagrams is not None else 0

    def _ways(self, info: FlowInfo) -> Iterator[socket.socket]:
        """Yield our ends of the ways of these flows to their proxies."""
        if info.protocol == "tcp":
            for flow in self._tcp.idle_to(info.target, info.target_port):
                if flow.sock is not None:
                    yield flow.sock
        elif self._datagrams is not None:
            yield from self._datagrams.ways_to(info.target, info.target_port)

    async def _proxy_behind(self, info: FlowInfo) -> Process | None:
        """Return who has the other end of our ways to the proxy; None where it cannot be told."""
        for sock in self._ways(info):
            try:
                near, far = sock.getsockname()[:2], sock.getpeername()[:2]
            except OSError:  # not connected yet
                continue
            family = socket.AF_INET6 if ":" in far[0] else socket.AF_INET
            ends = (socket.inet_pton(family, far[0]), far[1], socket.inet_pton(family, near[0]), near[1])
            found = await self._owners.search("tcp" if sock.type == socket.SOCK_STREAM else "udp", *ends)
            if found.pid >= 0:
                return found
        return None

    def _cut(self, info: FlowInfo, verdict: Verdict, client: Process, who: str, count: _Count) -> None:
        now = self._clock()
        count.refused_until = now + QUARANTINE
        if info.protocol == "udp" and self._datagrams is not None:
            number = self._datagrams.cut_loop(info.target, info.target_port)
        else:
            number = self._tcp.cut_loop(info.target, info.target_port)
        self.cut += number
        advice = _advice(verdict.upstream, client)
        if not who and self._serves_others:
            who, advice = "what this host forwards", _advice_behind(verdict.upstream)
        who = who or "a program that cannot be found out"
        words = f"loop: flows to {_place(info)} come from {who}, {advice}"
        known = self._found.get(verdict.upstream)
        self._found[verdict.upstream] = (words, now)
        if known is None or now - known[1] > QUARANTINE:
            fields = about(flow=info, upstream=verdict.upstream, rule=verdict.why)
            form = "%s; %d flows were cut, others are refused for %g s"
            _log.warning(form, words, number, QUARANTINE, extra=fields)


def proxy_of(verdict: Verdict) -> tuple[str, int] | None:
    """Return host and port of the proxy that a verdict leads to; None where that is none of ours to know."""
    if verdict.kind == CONVERSE:
        return verdict.address, int(verdict.port)
    opener = verdict.opener
    return (opener.host, opener.port) if isinstance(opener, ProxyUpstream) else None


def _same(client: Process, proxy: Process | None) -> str:
    """Return who both are, in words; "" where they are not the same program, or it cannot be told."""
    if client.pid < 0:
        return ""
    if client.pid == os.getpid():
        return "tunproxy itself"
    if proxy is None:
        return ""
    is_same = client.pid == proxy.pid or (client.path is not None and client.path == proxy.path)
    return f"{client.name or 'a program'} (process {client.pid})" if is_same else ""


def _advice(upstream: str, client: Process) -> str:
    if client.pid == os.getpid():
        return f"on their way to {upstream} (see who has changed the policy rules: ip rule)"
    name = "" if upstream == URL_NAME else f" {upstream}"
    if client.uid > 0:
        how = f"leave it alone: [capture] exclude-users = [{client.uid}], or --exclude-user {client.uid}"
        return f"which is the upstream{name} ({how})"
    how = "run it as a user of its own, and leave that alone: [capture] exclude-users, or --exclude-user"
    return f"which is the upstream{name} ({how})"


def _advice_behind(upstream: str) -> str:
    name = "" if upstream == URL_NAME else f" {upstream}"
    how = "leave the link that it is behind alone: [capture] exclude-interfaces, or --exclude-interface"
    return f"where the upstream{name} is ({how})"


def _place(info: FlowInfo) -> str:
    address = socket.inet_ntop(info.family, info.target)
    host = info.host or info.name or address
    return f"[{host}]:{info.target_port}" if ":" in host else f"{host}:{info.target_port}"
