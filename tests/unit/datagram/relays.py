"""A table whose datagrams go through a proxy: the proxy's UDP side, and who opens the ways to it.

client's frames ──▶ DatagramTable ──▶ connected UDP sockets (``Ways``) ──▶ ``Relay``
                                  └─▶ streams, one for each target ─────▶ ``StreamRelay``
"""

import errno
import select
import socket
import zlib
from collections.abc import Callable

from tests.unit.datagram.world import UDP_GRO, Sockets, World
from tests.unit.wire.frames import packed
from tunproxy import clock
from tunproxy.datagram.socks_framing import SocksFraming
from tunproxy.flow.codec import Codec
from tunproxy.flow.framing import Framing
from tunproxy.flow.ports import DatagramRequest, Decider, FlowWatcher, Opener
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.flow.verdict import OPEN, FlowInfo, Verdict

VIA_PROXY = Verdict(OPEN, "proxy", opener=object())
FRAMING = SocksFraming()


class Mask(Seal):
    """A seal of no secret: a sum, and octets that are turned over. It pads to multiples of pad."""

    def __init__(self, pad: int = 1) -> None:
        super().__init__()
        self.pad = pad

    def seal(self, header: bytes, payload: bytes | memoryview) -> bytes:
        clear = len(payload).to_bytes(2, "big") + header + payload
        clear += bytes(-len(clear) % self.pad)
        return zlib.crc32(clear).to_bytes(4, "big") + bytes(octet ^ 0xFF for octet in clear)

    def open(self, datagram: bytes) -> bytes | None:
        clear = bytes(octet ^ 0xFF for octet in datagram[4:])
        if len(clear) < 2 or zlib.crc32(clear).to_bytes(4, "big") != datagram[:4]:
            self.why = "the sum is wrong"
            return None
        size = int.from_bytes(clear[:2], "big")
        off = FRAMING.payload_off(clear[2:])
        return clear[2 : 2 + off + size] if off >= 0 else clear[2:]


class Sized(StreamFraming):
    """Two octets of length in front of each datagram, the bits of which are turned over."""

    def __init__(self) -> None:
        self.kept = b""

    def head(self, size: int) -> bytes:
        return (int(size) ^ 0xFFFF).to_bytes(2, "big")

    def take(self, data: bytes) -> list[bytes]:
        self.kept += data
        found = []
        while len(self.kept) >= 2:
            size = int.from_bytes(self.kept[:2], "big") ^ 0xFFFF
            if size == 0xFFFF:
                raise ValueError("no datagram has this length")
            if len(self.kept) < 2 + size:
                break
            found.append(self.kept[2 : 2 + size])
            self.kept = self.kept[2 + size :]
        return found

    def is_between(self) -> bool:
        return not self.kept


class Rot(Codec):
    """Turns each octet over; what it has decoded from 0xFE on is the end."""

    def __init__(self) -> None:
        self.is_over = False
        self.is_cut_by_end = False

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(octet ^ 0xFF for octet in data)

    def decode(self, data: bytes) -> bytes:
        return bytes(octet ^ 0xFF for octet in data)

    def has_ended(self) -> bool:
        return self.is_over

    def decode_end(self) -> bytes:
        if self.is_cut_by_end:
            raise EOFError("cut off")
        return b""


class Relay:
    """A UDP socket that clients' datagrams arrive at with a header in front, and sealed, with a seal."""

    def __init__(self, *, gro: bool = False, seal: Seal | None = None) -> None:
        self.seal = seal
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
        if self.seal is not None:
            opened = self.seal.open(data)
            assert opened is not None
            data = opened
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
        header = FRAMING.header_for(packed(source), port)
        data = header + payload if self.seal is None else self.seal.seal(header, payload)
        self.sock.sendto(data, to or self.client)

    def is_idle(self) -> bool:
        return not select.select([self.sock], [], [], 0.05)[0]


class StreamRelay:
    """Takes a stream for each target, in which datagrams are ``Sized``."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.streams: list[socket.socket] = []

    def connect(self) -> socket.socket:
        """Return our end of a new stream; the relay's is the last in streams."""
        ours = socket.create_connection(self.listener.getsockname())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        ours.setblocking(False)
        self.streams.append(self.listener.accept()[0])
        self.streams[-1].settimeout(5)
        return ours

    def receive(self, count: int, number: int = -1, framing: StreamFraming | None = None) -> list[bytes]:
        """Return the next datagrams of a stream."""
        framing = framing or Sized()
        found: list[bytes] = []
        while len(found) < count:
            data = self.streams[number].recv(65536)
            assert data, f"the stream ended after {len(found)} datagrams"
            found += framing.take(data)
        return found

    def answer(self, *payloads: bytes, number: int = -1) -> None:
        framing = Sized()
        self.streams[number].sendall(b"".join(framing.head(len(each)) + each for each in payloads))

    def close(self) -> None:
        for sock in (self.listener, *self.streams):
            sock.close()


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
        self.troubles: list[str] = []
        self.gone: list[int] = []
        self.framing: Framing = FRAMING
        self.seal: Seal | None = None
        self.streams: StreamRelay | None = None  # through which all ways lead, if at all
        self.stream_framing: Callable[[], StreamFraming] = Sized
        self.codec: Codec | None = None
        self.rest = b""

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
        if self.streams is not None:
            self.open[request] = self.streams.connect()
            request.opened_stream(self.open[request], self.stream_framing(), self.rest, self.codec)
            return
        sock = Sockets().udp(socket.AF_INET)
        sock.connect(self.relay.where)
        self.open[request] = sock
        request.opened(sock, self.framing, self.seal)

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

    def on_trouble(self, info: FlowInfo, verdict: Verdict, why: str) -> None:
        self.troubles.append(why)

    def unreached(self, info: FlowInfo, verdict: Verdict, error: int) -> int:
        self.gone.append(error)
        return error

    def is_per_target(self, verdict: Verdict) -> bool:
        return self.streams is not None


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
        seal: Seal | None = None,
        streams: StreamRelay | None = None,
    ) -> None:
        self.relay = Relay(gro=gro, seal=seal)
        self.ways = Ways(self.relay, at_once=at_once, error=error)
        self.ways.seal = seal
        self.ways.streams = streams
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
        if self.ways.streams is not None:
            self.ways.streams.close()


REFUSED = errno.ECONNREFUSED
