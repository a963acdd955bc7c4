"""A table whose datagrams go through a proxy: the proxy's UDP side, and who opens the ways to it.

client's frames ──▶ DatagramTable ──▶ connected UDP sockets (``Ways``) ──▶ ``Relay``
"""

import errno
import select
import socket

from tests.unit.datagram.world import UDP_GRO, Sockets, World
from tests.unit.wire.frames import packed
from tunproxy import clock
from tunproxy.datagram.socks_framing import SocksFraming
from tunproxy.flow.framing import Framing
from tunproxy.flow.ports import DatagramRequest, Decider, FlowWatcher, Opener
from tunproxy.flow.verdict import OPEN, FlowInfo, Verdict

VIA_PROXY = Verdict(OPEN, "proxy", opener=object())
FRAMING = SocksFraming()


class Relay:
    """A UDP socket that clients' datagrams arrive at with a header in front."""

    def __init__(self, *, gro: bool = False) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(5)
        if gro:
            self.sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self.where: tuple[str, int] = self.sock.getsockname()
        self.client = ("", 0)

    def receive(self) -> tuple[str, int, bytes]:
        """Return where a datagram is to go, an address or a name, and its payload."""
        data, self.client = self.sock.recvfrom(65536)
        off = FRAMING.payload_off(data)
        assert off > 0
        source = FRAMING.source_of(data[:off])
        assert source is not None
        if source.name:
            return source.name, int(source.port), data[off:]
        family = socket.AF_INET if len(source.address) == 4 else socket.AF_INET6
        return socket.inet_ntop(family, source.address), int(source.port), data[off:]

    def answer(self, source: str, port: int, payload: bytes, *, to: tuple[str, int] | None = None) -> None:
        """Send what seems to come from source."""
        self.sock.sendto(FRAMING.header_for(packed(source), port) + payload, to or self.client)

    def is_idle(self) -> bool:
        return not select.select([self.sock], [], [], 0.05)[0]


class Ways(Opener):
    """Opens ways to relay when it is told to, or at once; error is an errno that everybody gets at once."""

    def __init__(self, relay: Relay, *, at_once: bool = True, error: int = 0) -> None:
        self.relay = relay
        self.at_once = at_once
        self.error = error
        self.deferred: list[object] = []  # openers that only decide
        self.decides: Verdict | None = None  # what they decide at once
        self.asked: list[tuple[FlowInfo, Verdict, DatagramRequest]] = []
        self.open: dict[DatagramRequest, socket.socket] = {}
        self.closed: list[DatagramRequest] = []
        self.spoiled: list[BaseException] = []
        self.framing: Framing = FRAMING

    def is_undecided(self, verdict: Verdict) -> bool:
        return verdict.opener in self.deferred

    def open_datagrams(self, info: FlowInfo, verdict: Verdict, request: DatagramRequest) -> None:
        self.asked.append((info, verdict, request))
        if self.decides is not None and self.is_undecided(verdict):
            request.decided(self.decides)
        elif self.error:
            request.failed(self.error)
        elif self.at_once:
            self.grant()

    def grant(self, number: int = -1) -> None:
        """Open the way that was asked for as this number."""
        request = self.asked[number][2]
        sock = Sockets().udp(socket.AF_INET)
        sock.connect(self.relay.where)
        self.open[request] = sock
        request.opened(sock, self.framing)

    def end(self, number: int = -1) -> None:
        """Have a way end on the proxy's side."""
        request = self.asked[number][2]
        request.ended()
        self.open.pop(request).close()

    def close_datagrams(self, request: DatagramRequest) -> None:
        self.closed.append(request)
        sock = self.open.pop(request, None)
        if sock is not None:
            sock.close()

    def on_spoiled(self, upstream: str, error: BaseException) -> None:
        self.spoiled.append(error)


class Choosing(Decider):
    """Says verdict of everything, or what stands in others for a target's port; notes what it was asked."""

    def __init__(self, verdict: Verdict = VIA_PROXY) -> None:
        self.verdict = verdict
        self.others: dict[int, Verdict] = {}
        self.hosts: dict[bytes, str] = {}
        self.sniffed: list[bytes] = []
        self.answers: list[Verdict | None] = []  # of decide_sniffed
        self.asked = 0

    def decide(self, info: FlowInfo) -> Verdict:
        self.asked += 1
        info.host = self.hosts.get(info.target, "")
        return self.others.get(int(info.target_port), self.verdict)

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        self.sniffed.append(data)
        return self.answers.pop(0)


class Proxied:
    """A world whose flows go through a relay, by a clock that runs."""

    def __init__(
        self,
        *,
        at_once: bool = True,
        error: int = 0,
        decider: Choosing | None = None,
        max_associations: int = 4096,
        gro: bool = False,
        mtu: int = 1500,
        watcher: FlowWatcher | None = None,
    ) -> None:
        self.relay = Relay(gro=gro)
        self.ways = Ways(self.relay, at_once=at_once, error=error)
        self.decider = decider or Choosing()
        self.world = World(
            decider=self.decider,
            opener=self.ways,
            max_associations=max_associations,
            mtu=mtu,
            watcher=watcher,
        )
        self.world.now = clock.now()

    def __enter__(self) -> "Proxied":
        return self

    def __exit__(self, *exc: object) -> None:
        self.world.__exit__(None, None, None)
        assert not self.ways.open
        assert self.world.table._context.kept.octets == 0
        self.relay.sock.close()


REFUSED = errno.ECONNREFUSED
