"""Programs that talk all the time, in every way there is, from a port that no other conversation has had.

tcp          connect, an octet, an answer           udp    a datagram, an answer
dns, dns-tcp a question to a resolver               quic   1200 octets to port 443, an answer
ping         an echo request
"""

import contextlib
import itertools
import os
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dns.message
import dns.rrset

from tests.system.namespace import Namespace

ECHO, QUIC, DNS = 7007, 443, 53
TARGETS = {4: "203.0.113.7", 6: "2001:db8:200::7"}
RESOLVERS = {4: "203.0.113.53", 6: "2001:db8:200::53"}
FIRST_PORT = 20_000
APART = 30_000  # the identifiers of our pings are so far from those of tunproxy's
PATIENCE = 1.0  # seconds for an answer; a change of the network may swallow a question
ICMP_ECHO, ICMPV6_ECHO = 8, 128


@dataclass(frozen=True)
class Way:
    """One way to talk, in one family."""

    name: str
    family: int

    @property
    def protocol(self) -> str:
        return {"dns-tcp": "tcp", "tcp": "tcp", "ping": "ping"}.get(self.name, "udp")

    def __str__(self) -> str:
        return f"{self.name}{self.family}"


WAYS = tuple(
    Way(name, family) for name in ("tcp", "udp", "quic", "dns", "dns-tcp", "ping") for family in (4, 6)
)


class Programs:
    """Talk until they are closed, each way in turn; ``answered`` counts the conversations that went well."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._ports = itertools.count(FIRST_PORT)
        self._identifiers = itertools.count(next_identifier(namespace) + APART)
        self._ended = threading.Event()
        self.answered: Counter[Way] = Counter()
        self.begun: dict[tuple[str, int], float] = {}  # protocol and port of a conversation, and since when
        self._threads = [
            threading.Thread(target=self._talk, args=(WAYS[number::4],), daemon=True) for number in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)

    def go_on(self, times: int = 3, timeout: float = 30) -> None:
        """Return when each way has been answered a number of times more, in conversations begun after now."""
        now, before = time.monotonic(), Counter(self.answered)
        missing = [*WAYS]
        while missing:
            # one that is under way may have begun before
            missing = [way for way in WAYS if self.answered[way] <= before[way] + times]
            assert time.monotonic() < now + timeout, f"not answered: {', '.join(map(str, missing))}"
            time.sleep(0.01)

    def _talk(self, ways: tuple[Way, ...]) -> None:
        for way in itertools.cycle(ways):
            if self._ended.is_set():
                return
            with contextlib.suppress(OSError):
                self._converse(way)
                self.answered[way] += 1
            time.sleep(0.003)  # the processor is for others, too

    def _converse(self, way: Way) -> None:
        port = next(self._identifiers) & 0xFFFF if way.name == "ping" else next(self._ports)
        self.begun[way.protocol, port] = time.monotonic()
        if way.name == "ping":
            self._ping(way, port)
            return
        target = (RESOLVERS if way.name.startswith("dns") else TARGETS)[way.family]
        kind = socket.SOCK_STREAM if way.protocol == "tcp" else socket.SOCK_DGRAM
        af = socket.AF_INET if way.family == 4 else socket.AF_INET6
        with self._namespace.make_socket(af, kind, timeout=PATIENCE) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", port))
            if way.name.startswith("dns"):
                question = dns.message.make_query(f"name{port}.example", "A" if way.family == 4 else "AAAA")
                sock.connect((target, DNS))
                wire = question.to_wire()
                sock.send(struct.pack(">H", len(wire)) + wire if way.name == "dns-tcp" else wire)
                answer = sock.recv(2000)[2 if way.name == "dns-tcp" else 0 :]
                if not dns.message.from_wire(answer).answer:
                    raise OSError("no answer in it")
                return
            sock.connect((target, QUIC if way.name == "quic" else ECHO))
            # RFC 9000 §17.2: a long header; what follows is as random as what is encrypted
            said = b"\xc0\0\0\0\1" + os.urandom(1195) if way.name == "quic" else b"%d" % port
            sock.send(said)
            if sock.recv(2000) != said:
                raise OSError("another answer")

    def _ping(self, way: Way, identifier: int) -> None:
        af, proto, kind = {
            4: (socket.AF_INET, socket.IPPROTO_ICMP, ICMP_ECHO),
            6: (socket.AF_INET6, socket.IPPROTO_ICMPV6, ICMPV6_ECHO),
        }[way.family]
        message = struct.pack(">BBHHH", kind, 0, 0, identifier, 1) + b"ping"
        if way.family == 4:  # of IPv6 the kernel sums
            message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
        with self._namespace.make_socket(af, socket.SOCK_RAW, proto, timeout=PATIENCE) as sock:
            sock.sendto(message, (TARGETS[way.family], 0))
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                answer = sock.recv(2000)
                if way.family == 4:
                    answer = answer[(answer[0] & 15) * 4 :]
                if answer[0] in (0, 129) and answer[4:6] == message[4:6]:
                    return
            raise TimeoutError


def next_identifier(namespace: Namespace) -> int:
    """Return what the kernel gives to pings now: one after the other, to all that do not choose their own."""
    with namespace.make_socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
        sock.bind(("", 0))
        number: int = sock.getsockname()[1]
        return number


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@contextlib.contextmanager
def answering(world: Namespace, *resolvers: str) -> Iterator[None]:
    """Have the world answer all ways meanwhile; resolvers are others that know names."""
    selector = selectors.DefaultSelector()
    for address in TARGETS.values():
        _serve_tcp(selector, world.listen(address, ECHO), lambda data: data)
        for port in (ECHO, QUIC):
            _serve_udp(selector, world.datagram(address, port), lambda data: data)
    for address in (*RESOLVERS.values(), *resolvers):
        _serve_udp(selector, world.datagram(address, DNS), resolve)
        _serve_tcp(selector, world.listen(address, DNS), lambda data: framed(resolve(data[2:])))
    ended = threading.Event()
    thread = threading.Thread(target=_serve, args=(selector, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        selector.close()


def resolve(question: bytes) -> bytes:
    """Answer that every name has one address."""
    asked = dns.message.from_wire(question)
    answer = dns.message.make_response(asked)
    name, kind = asked.question[0].name, asked.question[0].rdtype
    address = {1: "192.0.2.99", 28: "2001:db8::99"}.get(int(kind))
    if address is not None:
        answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, address))
    return answer.to_wire()


def framed(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


def _serve(selector: selectors.BaseSelector, ended: threading.Event) -> None:
    while not ended.is_set():
        for key, _ in selector.select(0.1):
            key.data()


def _serve_udp(
    selector: selectors.BaseSelector, sock: socket.socket, answer: Callable[[bytes], bytes]
) -> None:
    def on_datagram() -> None:
        with contextlib.suppress(OSError):
            data, source = sock.recvfrom(65536)
            sock.sendto(answer(data), source)

    selector.register(sock, selectors.EVENT_READ, on_datagram)


def _serve_tcp(
    selector: selectors.BaseSelector, listener: socket.socket, answer: Callable[[bytes], bytes]
) -> None:
    def on_client() -> None:
        client, _ = listener.accept()
        client.setblocking(False)

        def on_data() -> None:
            data = b""
            with contextlib.suppress(OSError):
                data = client.recv(65536)
                if data:
                    client.sendall(answer(data))
            if not data:
                selector.unregister(client)
                client.close()

        selector.register(client, selectors.EVENT_READ, on_data)

    selector.register(listener, selectors.EVENT_READ, on_client)
