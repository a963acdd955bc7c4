"""Proxies that misbehave, each in its own way, on ports of their own in a namespace."""

import asyncio
import contextlib
import errno
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.system.namespace import Namespace

FIRST_PORT = 3000
HELLO = b"hello from the target"
GARBAGE = random.Random(1928).randbytes(1 << 20)
HEAD = b"HTTP/1.1 200 OK\r\n"
SILENCE = errno.ETIMEDOUT
OK = bytes((5, 0, 0, 1)) + bytes(6)

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A behaviour, and what the client must meet: an errno, or the target's octets where it is 0.

    told is what the one line says that people get, "" where the failure is the target's, and none is told.
    """

    name: str
    kind: str
    behave: Behaviour
    meets: int
    told: str = ""


def says(*pieces: bytes, pause: float = 0.0, first: int = 3) -> Behaviour:
    """Wait for so many octets, say each piece, and end the connection; what was sent arrives."""

    async def behave(reader: Reader, writer: Writer) -> None:
        if first:
            await reader.readexactly(first)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        writer.write_eof()
        while await reader.read(65536):
            pass

    return behave


def socks(*pieces: bytes, pause: float = 0.0) -> Behaviour:
    """Take any request for an IPv4 target, then say the pieces."""

    async def behave(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        await says(*pieces, pause=pause, first=10)(reader, writer)

    return behave


def http(*pieces: bytes, pause: float = 0.0) -> Behaviour:
    """Take any request, then say the pieces."""

    async def behave(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await says(*pieces, pause=pause, first=0)(reader, writer)

    return behave


def octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


async def reset(reader: Reader, writer: Writer) -> None:
    await reader.readexactly(3)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


async def never(reader: Reader, writer: Writer) -> None:
    while await reader.read(65536):
        pass


def socks_code(code: int) -> Behaviour:
    return socks(bytes((5, code, 0, 1)) + bytes(6))


def status(code: int, rest: str = "") -> Behaviour:
    return http(f"HTTP/1.1 {code} So Be It\r\nContent-Length: 3\r\n{rest}\r\nno\n".encode())


REFUSED, NO_HOST, NO_NET = errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH
HUNG_UP = "hung up in the middle"
CASES = [
    Case("closes at once", "socks5", says(first=0), REFUSED, HUNG_UP),
    Case("closes after the greeting", "socks5", says(), REFUSED, HUNG_UP),
    Case("resets", "socks5", reset, REFUSED, "reset"),
    Case("closes instead of an answer", "socks5", socks(), REFUSED, HUNG_UP),
    Case("closes within its answer", "socks5", socks(OK[:7]), REFUSED, HUNG_UP),
    Case("names a longer name than it sends", "socks5", socks(b"\x05\x00\x00\x03\xff" + b"x" * 20), REFUSED,
         HUNG_UP),
    Case("names a shorter name than it sends", "socks5", socks(b"\x05\x00\x00\x03\x00\x00\x00" + HELLO), 0),
    Case("names an unknown kind of address", "socks5", socks(b"\x05\x00\x00\x09" + bytes(40)), REFUSED,
         "kind 9"),
    Case("wants a login", "socks5", says(b"\x05\xff"), REFUSED, "wants a login"),
    Case("takes a method nobody offered", "socks5", says(b"\x05\x02"), REFUSED, "not offered"),
    Case("speaks SOCKS 4", "socks5", says(b"\x00\x5a" + bytes(6)), REFUSED, "does not speak SOCKS 5"),
    Case("answers in another version", "socks5", socks(b"\x04\x00\x00\x01" + bytes(6)), REFUSED,
         "not SOCKS 5"),
    Case("is a mail server", "socks5", says(b"220 mail\r\n", first=0), REFUSED, "does not speak SOCKS 5"),
    Case("speaks before it is asked", "socks5", says(b"\x05\x00" + OK + HELLO, first=0), 0),
    Case("answers octet by octet", "socks5", socks(*octets(OK + HELLO), pause=0.01), 0),
    Case("says everything at once", "socks5", socks(OK + HELLO), 0),
    Case("sends a megabyte of garbage", "socks5", says(GARBAGE, first=0), REFUSED, "does not speak SOCKS 5"),
    Case("sends garbage as its answer", "socks5", socks(b"\x05\x00\x00\x05" + GARBAGE), REFUSED, "kind 5"),
    *(
        Case(f"answers with code {code}", "socks5", socks_code(code), meets, told)
        for code, meets, told in (
            (1, REFUSED, "general failure"),
            (2, REFUSED, "rules do not allow"),
            (3, NO_NET, ""),
            (4, NO_HOST, ""),
            (5, REFUSED, ""),
            (6, NO_HOST, ""),
            (7, REFUSED, "does not know the command"),
            (8, REFUSED, "kind of address"),
            (9, REFUSED, "unknown code 9"),
            (255, REFUSED, "unknown code 255"),
        )
    ),
    *(
        Case(f"answers SOCKS 4 with code {code}", "socks4", says(bytes((0, code)) + bytes(6), first=9),
             REFUSED, told)
        for code, told in ((91, ""), (92, "code 92"), (93, "code 93"), (0, "code 0"))
    ),
    Case("speaks SOCKS 5 to a client of 4", "socks4", says(b"\x05\x00", first=9), REFUSED,
         "does not speak SOCKS 4"),
    *(
        Case(f"answers {code}", "http", status(code), meets, told)
        for code, meets, told in (
            (302, REFUSED, "302"),
            (403, REFUSED, "403 So Be It"),
            (407, REFUSED, "another user or password"),
            (500, REFUSED, ""),
            (502, REFUSED, ""),
            (503, REFUSED, ""),
            (504, SILENCE, "504"),
        )
    ),
    Case("claims a body that does not come", "http", http(HEAD + b"Content-Length: 99\r\n\r\n" + HELLO), 0),
    Case("claims chunks", "http", http(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + HELLO), 0),
    Case("answers twice", "http", http(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", HEAD + b"\r\n" + HELLO), 0),
    Case("answers in pieces", "http", http(*octets(HEAD + b"Via: x\r\n\r\n" + HELLO), pause=0.003), 0),
    Case("ends lines with LF alone", "http", http(b"HTTP/1.0 200 OK\n\n" + HELLO), 0),
    Case("has an endless head", "http", http(HEAD + b"X: y\r\n" * 200_000), REFUSED, "longer than 16384"),
    Case("has a long line", "http", http(HEAD + b"X: " + b"y" * 1_000_000), REFUSED, "longer than 16384"),
    Case("sends garbage to a CONNECT", "http", http(GARBAGE), REFUSED, "does not speak HTTP"),
    Case("has a broken status line", "http", http(b"HTTP/1.1 OK\r\n\r\n"), REFUSED, "broken status line"),
    Case("closes within the head", "http", http(HEAD), REFUSED, HUNG_UP),
    Case("is an SSH server", "http", says(b"SSH-2.0-x\r\n", first=0), REFUSED, "does not speak HTTP"),
]  # fmt: skip
NEVER = [
    Case("never answers", "socks5", never, SILENCE, "no answer of the proxy in 30 s"),
    Case("never answers a request", "http", never, SILENCE, "no answer of the proxy in 30 s"),
]
PORTS = {case.name: FIRST_PORT + at for at, case in enumerate([*CASES, *NEVER])}


class HostileProxies:
    """All of them, served by a thread until stop is called."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        self._listeners = {case: namespace.listen(address, PORTS[case.name]) for case in [*CASES, *NEVER]}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(),), daemon=True
        )
        self._stop = asyncio.Event()
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        for case, listener in self._listeners.items():
            await asyncio.start_server(_guarded(case.behave), sock=listener)
        await self._stop.wait()


def _guarded(behave: Behaviour) -> Behaviour:
    async def handle(reader: Reader, writer: Writer) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await asyncio.wait_for(behave(reader, writer), 60)
        writer.close()

    return handle
