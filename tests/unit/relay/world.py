"""What tests of the relay share: a worker's service, connected sockets, a client's connection."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tunproxy.relay.connection import Connection
from tunproxy.relay.metrics import OPEN, Board, Tally
from tunproxy.relay.reading import read_config
from tunproxy.relay.service import Service, user_limits
from tunproxy.relay.settings import RelayConfig

T = TypeVar("T")

LOOPBACK = '[targets]\nallow = ["127.0.0.0/8", "::1"]\n'  # where the targets of these tests are
WITHIN = 20.0  # seconds; a test that waits longer hangs


def config_of(text: str = LOOPBACK, environment: dict[str, str] | None = None) -> RelayConfig:
    return read_config(text.encode(), "relay.toml", Path("/nowhere"), environment or {})


def board_of(config: RelayConfig, workers: int = 1) -> Board:
    return Board(workers, list(user_limits(config)))


def tally_of(*users: str) -> Tally:
    return Tally(Board(1, users), 0)


def service_of(text: str = LOOPBACK) -> Service:
    config = config_of(text)
    return Service(config, Tally(board_of(config), 0))


def run(what: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end on a loop of its own."""

    async def limited() -> T:
        async with asyncio.timeout(WITHIN):
            return await what()

    return asyncio.run(limited())


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a TCP connection, the second one blocking, with a timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours = listener.accept()[0]
    ours.setblocking(False)
    theirs.settimeout(WITHIN)
    return ours, theirs


@contextmanager
def target(kind: int = socket.SOCK_STREAM) -> Iterator[tuple[socket.socket, int]]:
    """Have a socket that waits for clients, or for datagrams."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(WITHIN)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock, sock.getsockname()[1]


def nobody() -> int:
    """Return a port where nobody listens."""
    with target() as (_, port):
        return port


class Client:
    """A client whose connection is served on the running loop. Its own calls go to a thread."""

    def __init__(self, service: Service) -> None:
        ours, self.sock = pair()
        service.tally.add(OPEN)
        self.task = asyncio.create_task(Connection(service, ours, "test:1").serve())

    async def send(self, data: bytes) -> None:
        await asyncio.to_thread(self.sock.sendall, data)

    async def recv(self, size: int = 65536) -> bytes:
        return await asyncio.to_thread(self.sock.recv, size)

    async def exactly(self, count: int) -> bytes:
        heard = b""
        while len(heard) < count:
            data = await self.recv(count - len(heard))
            if not data:
                break
            heard += data
        return heard

    async def head(self) -> bytes:
        """Read up to the end of an answer's head."""
        heard = b""
        while not heard.endswith(b"\r\n\r\n"):
            octet = await self.recv(1)
            if not octet:
                break
            heard += octet
        return heard

    async def to_end(self) -> bytes:
        heard = b""
        while data := await self.recv():
            heard += data
        return heard
