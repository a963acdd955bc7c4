"""Queries and responses made and read by dnspython, a resolver of the test, dnsmasq and unbound.

``Peer`` answers on the host's loopback over UDP and TCP with whatever a test wants it to; ``dnsmasq`` and
``unbound`` run in a network namespace of their own (``tests.isolation``).
"""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from tunproxy.dns.message import A, Question, read_question
from tunproxy.dns.resolvers import Group, Resolver, Router
from tunproxy.dns.server import DnsServer
from tunproxy.dns.transport import Transport
from tunproxy.flow.ports import SocketMaker
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.sockets import KernelSockets

CLIENT = bytes((10, 0, 0, 2))
OTHER = bytes((10, 0, 0, 3))
SECOND = 1_000_000


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; no task of it may be left."""

    async def checked() -> None:
        async with asyncio.timeout(20):
            await test
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, left

    asyncio.run(checked())


def query(name: str = "www.example", kind: str = "A", **options: Any) -> bytes:
    """Return a query as a stub resolver makes it."""
    return dns.message.make_query(name, kind, **options).to_wire()


def question(name: str = "www.example", kind: str = "A", **options: Any) -> Question:
    found = read_question(query(name, kind, **options))
    assert found is not None
    return found


def read(wire: bytes | None) -> dns.message.Message:
    assert wire is not None
    return dns.message.from_wire(wire)


def texts(wire: bytes | None) -> list[str]:
    """Return the answers of a response, each as "name ttl type data"."""
    found = []
    for rrset in read(wire).answer:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        found += [f"{rrset.name.to_text(True)} {rrset.ttl} {kind} {record.to_text()}" for record in rrset]
    return found


def respond(
    asked: bytes,
    *answers: str,
    rcode: int = 0,
    authority: tuple[str, ...] = (),
    additional: tuple[str, ...] = (),
) -> bytes:
    """Return the response to a query with records as a zone file has them."""
    response = dns.message.make_response(dns.message.from_wire(asked))
    response.set_rcode(dns.rcode.Rcode.make(rcode))
    response.flags |= dns.flags.RA
    for section, records in (
        (response.answer, answers),
        (response.authority, authority),
        (response.additional, additional),
    ):
        for text in records:
            name, ttl, kind, data = text.split(" ", 3)
            section.append(dns.rrset.from_text(f"{name}.", int(ttl), "IN", kind, data))
    return response.to_wire(max_size=65535)


class Scripted(Transport):
    """Answers by function, without any network. It may return octets, raise, or wait."""

    def __init__(self, answer: Callable[[bytes], Any]) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.is_closed = False

    async def exchange(self, query: bytes) -> bytes:
        self.asked.append(query)
        found = self.answer(query)
        if asyncio.iscoroutine(found):
            found = await found
        assert isinstance(found, bytes)
        return found

    async def close(self) -> None:
        self.is_closed = True


def address_of(*addresses: str, ttl: int = 300) -> Callable[[bytes], bytes]:
    """Return a script that answers every question about A with addresses, any other with nothing."""

    def answer(asked: bytes) -> bytes:
        [rrset] = dns.message.from_wire(asked).question
        name = rrset.name.to_text(True)
        if rrset.rdtype != A:
            return respond(asked, authority=(f"{name} 60 SOA ns.{name}. me.{name}. 1 1 1 1 60",))
        return respond(asked, *(f"{name} {ttl} A {address}" for address in addresses))

    return answer


async def never(asked: bytes = b"") -> bytes:
    await asyncio.sleep(3600)
    raise AssertionError


def server_of(*transports: Transport, attempt: float = 0.2, **options: Any) -> DnsServer:
    """Return a server that asks transports in turn, on a clock of the test's if options name one."""
    resolvers = [
        Resolver(f"resolver-{number}", each, attempt=attempt) for number, each in enumerate(transports)
    ]
    return DnsServer(Router(Group(resolvers)), **options)


class Clock:
    """The packet path's clock, as a test wants it."""

    def __init__(self) -> None:
        self.at = 1000 * SECOND

    def __call__(self) -> int:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += int(seconds * SECOND)


class Turns:
    """Counts how often asyncio was to have its turn."""

    def __init__(self) -> None:
        self.count = 0

    def yield_loop(self) -> None:
        self.count += 1


class Sockets(SocketMaker):
    """The packet path's sockets, counted: nobody else may make any."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._kernel = KernelSockets(0, "")

    def tcp(self, family: int) -> socket.socket:
        self.made.append("tcp")
        return self._kernel.tcp(family)

    def udp(self, family: int) -> socket.socket:
        self.made.append("udp")
        return self._kernel.udp(family)

    def dialer(self) -> AsyncDialer:
        return AsyncDialer(asyncio.get_running_loop(), self)


class Peer:
    """A resolver of the test: one port of the loopback, UDP and TCP."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.queries: list[tuple[bytes, str]] = []
        self.connections = 0
        self.sources: list[int] = []


@contextlib.asynccontextmanager
async def peer(
    udp: Callable[[bytes], list[bytes]] = lambda asked: [],
    tcp: Callable[[bytes], list[bytes] | None] = lambda asked: [],
    *,
    ssl: Any = None,
) -> AsyncIterator[Peer]:
    """Run a resolver that answers each query with messages; over TCP None ends the connection."""
    loop = asyncio.get_running_loop()

    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            found.queries.append((data, "udp"))
            found.sources.append(address[1])
            for wire in udp(data):
                self.transport.sendto(wire, address)  # type: ignore[attr-defined]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        found.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                found.queries.append((data, "tcp"))
                replies = tcp(data)
                if replies is None:
                    break
                for wire in replies:
                    writer.write(len(wire).to_bytes(2, "big") + wire)
        writer.transport.abort()

    tasks: list[Any] = []
    while True:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ssl)
        port = server.sockets[0].getsockname()[1]
        try:
            transport, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", port))
        except OSError:  # somebody else has it over UDP
            server.close()
        else:
            break
    found = Peer(port)
    try:
        yield found
    finally:
        transport.close()
        server.close()
        await asyncio.sleep(0.02)
        if tasks:
            await asyncio.wait(tasks, timeout=10)


@contextlib.contextmanager
def dnsmasq(*settings: str, port: int = 5353) -> Iterator[None]:
    """Run dnsmasq on 127.0.0.1 and ::1 of this network namespace, which knows names below test only."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    program = shutil.which("dnsmasq")
    assert program is not None
    process = subprocess.Popen(
        [program, "--keep-in-foreground", "--user=root", "--pid-file=", "--conf-file=/dev/null",
         "--no-resolv", "--no-hosts", f"--port={port}", "--bind-interfaces", "--listen-address=127.0.0.1",
         "--listen-address=::1", "--local=/test/", "--local-ttl=300", *(f"--{each}" for each in settings)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until = time.monotonic() + 20
        while not _answers(port):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(20)
        assert process.stderr is not None
        process.stderr.close()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def unbound(
    folder: Path, certificate: Path, *records: str, port: int = 5353, tls_port: int = 8853
) -> Iterator[None]:
    """Run unbound on 127.0.0.1 of this network namespace, plain and with TLS, which knows only records."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    lines = [
        "server:", "do-daemonize: no", 'username: ""', 'chroot: ""', 'pidfile: ""', f'directory: "{folder}"',
        "use-syslog: no", f"interface: 127.0.0.1@{port}", f"interface: 127.0.0.1@{tls_port}", "do-ip6: no",
        f"tls-port: {tls_port}", f'tls-service-key: "{certificate}"', f'tls-service-pem: "{certificate}"',
        'module-config: "iterator"', 'local-zone: "test." static', "minimal-responses: no",
        *(f"local-data: '{record}'" for record in records),
    ]  # fmt: skip
    settings = folder / "unbound.conf"
    settings.write_text("\n".join(lines) + "\n")
    program = shutil.which("unbound")
    assert program is not None
    log = folder / "unbound.log"
    with log.open("wb") as out:
        process = subprocess.Popen([program, "-c", str(settings)], stdout=out, stderr=out)
    try:
        until = time.monotonic() + 20
        while not _answers(tls_port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(20)
