"""The two ends of mixed traffic, each octet of which is checked.

    python soak_peers.py serve ADDRESS...                  in the world
    python soak_peers.py talk TALKERS PAUSE ADDRESS...     on the host: so many at once, seconds between two

A talk over TCP begins with a header: what is to happen, octets up, octets down. Both ends send parts of one
pattern, and the server says whether it got what it was to get. ``talk`` prints a line of JSON every half
second: how often each kind of talk went well, octets, and what went wrong. A line on its input has it end
what goes on and begin nothing more; a last line tells the sums then.
"""

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

PORT, DNS = 7100, 53
HEADER = struct.Struct(">4sQQ")
PATTERN = random.Random(6).randbytes((1 << 20) + 13) * 2  # odd: no buffer's size divides it
LENGTH = len(PATTERN) // 2
CHUNK = 1 << 16
PATIENCE = 60.0  # seconds that a talk may stand still; then its flow is lost
AGAIN = 2.0  # seconds until a datagram or question is sent again
TIMES = 5  # that it is sent
KEPT = 10  # failures that are told in words
LONG_SECONDS = 30.0
SO_LINGER = struct.pack("ii", 1, 0)


class TalkError(Exception):
    """What came was not what should have come."""


class Stream:
    """A TCP connection; all waiting on it is bounded."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self.octets = 0

    async def connect(self, address: str) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_connect(self._sock, (address, PORT))

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self._sock, data)
        self.octets += len(data)

    async def receive(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            data = await self._loop.sock_recv(self._sock, size)
        self.octets += len(data)
        return data

    async def exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = await self.receive(size - len(parts))
            if not part:
                raise TalkError(f"ended after {len(parts)} of {size} octets")
            parts += part
        return parts

    async def send_pattern(self, size: int) -> None:
        at = 0
        while at < size:
            length = min(CHUNK, size - at)
            await self.send(PATTERN[at % LENGTH : at % LENGTH + length])
            at += length

    async def check_pattern(self, size: int) -> None:
        at = 0
        while at < size:
            part = await self.receive(min(CHUNK, size - at))
            if not part:
                raise TalkError(f"ended after {at} of {size} octets")
            if part != PATTERN[at % LENGTH : at % LENGTH + len(part)]:
                raise TalkError(f"other octets between {at} and {at + len(part)}")
            at += len(part)

    async def expect_end(self) -> None:
        if await self.receive(1):
            raise TalkError("goes on after its end")

    async def expect_reset(self) -> None:
        try:
            while await self.receive(CHUNK):
                pass
        except ConnectionResetError:
            return
        raise TalkError("ended, and was to be reset")

    def end(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER)

    def close(self) -> None:
        self._sock.close()


# the world


async def serve(addresses: list[str]) -> None:
    accepting = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen(1024)
        listener.setblocking(False)
        accepting.append(_accept(listener))
        loop = asyncio.get_running_loop()
        for port, answer in ((PORT, lambda data: data), (DNS, _resolve)):
            await loop.create_datagram_endpoint(
                lambda answer=answer: _Answers(answer), local_addr=(address, port), family=family
            )
    print("serves", flush=True)
    await asyncio.gather(*accepting)


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._transport.sendto(self._answer(data), addr)  # type: ignore[attr-defined]


def _resolve(question: bytes) -> bytes:
    """Answer one question (RFC 1035 §4.1) with the address 192.0.2.99, as for its first name."""
    flags, question_end = b"\x81\x80", question.index(b"\0", 12) + 5
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc0\0\2\x63"
    return question[:2] + flags + b"\0\1\0\1\0\0\0\0" + question[12:question_end] + answer


async def _accept(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    running = set()
    while True:
        client, _ = await loop.sock_accept(listener)
        task = asyncio.ensure_future(_answer(Stream(client)))
        running.add(task)
        task.add_done_callback(running.discard)


async def _answer(stream: Stream) -> None:
    with contextlib.suppress(OSError, TalkError, TimeoutError), contextlib.closing(stream):
        what, up, down = HEADER.unpack(await stream.exactly(HEADER.size))
        if what == b"LONG":
            while True:
                await stream.send(await stream.exactly(up))
        if what == b"HALF":
            await stream.check_pattern(up)
            await stream.expect_end()
            await stream.send_pattern(down)
            return
        both = asyncio.gather(stream.check_pattern(up), stream.send_pattern(down))
        await both
        if what == b"RSET":
            stream.reset()
            return
        await stream.send(b"good")
        await stream.expect_end()


# the host


class Talkers:
    """Talk until they are to end, and count."""

    def __init__(self, addresses: list[str], pause: float) -> None:
        self._addresses = addresses
        self._pause = pause
        self.ended = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self.octets = 0
        self.again: Counter[str] = Counter()  # datagrams that were sent once more, by kind
        self.failures: list[str] = []
        self.failed = 0
        self._kinds: list[tuple[str, int, Callable[[str], Awaitable[None]]]] = [
            ("short", 30, self._short),
            ("download", 3, self._download),
            ("upload", 3, self._upload),
            ("both", 2, self._both),
            ("half-close", 10, self._half_close),
            ("reset-by-server", 5, self._reset_by_server),
            ("reset-by-client", 5, self._reset_by_client),
            ("udp", 20, self._udp),
            ("dns", 15, self._dns),
            ("ping", 10, self._ping),
        ]

    async def talk(self, number: int) -> None:
        """Talk of all kinds, one after the other; the first few of us keep one connection for long."""
        chance = random.Random(number)
        while not self.ended.is_set():
            if number < 4:
                kind, run = "long", self._long
            else:
                ((kind, _, run),) = chance.choices(self._kinds, [weight for _, weight, _ in self._kinds])
            address = chance.choice(self._addresses)
            try:
                await run(address)
                self.counts[kind] += 1
            except (OSError, TalkError, TimeoutError) as error:
                self.failed += 1
                if len(self.failures) < KEPT:
                    self.failures.append(f"{kind} {address}: {type(error).__name__} {error}")
            if self._pause:
                await asyncio.sleep(self._pause * chance.random() * 2)

    async def _tcp(self, address: str, what: bytes, up: int, down: int) -> Stream:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        stream = Stream(socket.socket(family, socket.SOCK_STREAM))
        try:
            await stream.connect(address)
            await stream.send(HEADER.pack(what, up, down))
        except BaseException:
            stream.close()
            raise
        return stream

    async def _transfer(self, address: str, up: int, down: int) -> None:
        with contextlib.closing(await self._tcp(address, b"BOTH", up, down)) as stream:
            both = asyncio.gather(stream.send_pattern(up), stream.check_pattern(down))
            await both
            if await stream.exactly(4) != b"good":
                raise TalkError("the server got something else")
            stream.end()
            await stream.expect_end()
            self.octets += stream.octets

    async def _short(self, address: str) -> None:
        await self._transfer(address, random.randrange(2000), random.randrange(20_000))

    async def _download(self, address: str) -> None:
        await self._transfer(address, 0, random.randrange(1 << 20, 16 << 20))

    async def _upload(self, address: str) -> None:
        await self._transfer(address, random.randrange(1 << 20, 16 << 20), 0)

    async def _both(self, address: str) -> None:
        await self._transfer(address, random.randrange(4 << 20), random.randrange(4 << 20))

    async def _half_close(self, address: str) -> None:
        up, down = random.randrange(100_000), random.randrange(100_000)
        with contextlib.closing(await self._tcp(address, b"HALF", up, down)) as stream:
            await stream.send_pattern(up)
            stream.end()
            await stream.check_pattern(down)
            await stream.expect_end()
            self.octets += stream.octets

    async def _reset_by_server(self, address: str) -> None:
        with contextlib.closing(await self._tcp(address, b"RSET", 1000, 0)) as stream:
            await stream.send_pattern(1000)
            await stream.expect_reset()

    async def _reset_by_client(self, address: str) -> None:
        size = random.randrange(1 << 20)
        with contextlib.closing(await self._tcp(address, b"BOTH", 0, 4 << 20)) as stream:
            await stream.check_pattern(size)
            stream.reset()

    async def _long(self, address: str) -> None:
        """Exchange a little now and then, on a connection that outlives reloads."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LONG_SECONDS
        with contextlib.closing(await self._tcp(address, b"LONG", 100, 0)) as stream:
            while loop.time() < until and not self.ended.is_set():
                said = os.urandom(100)
                await stream.send(said)
                if await stream.exactly(100) != said:
                    raise TalkError("another answer")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.ended.wait(), 0.5)
            stream.end()
            await stream.expect_end()

    async def _udp(self, address: str) -> None:
        for _ in range(random.randrange(1, 5)):
            said = os.urandom(random.randrange(8, 1400))
            await self._ask("udp", address, PORT, said, lambda got, said=said: got == said)
            self.octets += 2 * len(said)

    async def _dns(self, address: str) -> None:
        number = os.urandom(2)
        label = b"%08x" % random.randrange(1 << 32)
        question = number + b"\1\0\0\1\0\0\0\0\0\0" + b"\x08" + label + b"\x07example\0\0\1\0\1"
        await self._ask(
            "dns", address, DNS, question, lambda got: got[:2] == number and got[-4:] == b"\xc0\0\2\x63"
        )

    async def _ping(self, address: str) -> None:
        said = struct.pack(">BBHHH", 128 if ":" in address else 8, 0, 0, 0, 1) + os.urandom(56)
        await self._ask("ping", address, 0, said, lambda got: got[8:] == said[8:])

    async def _ask(
        self, what: str, address: str, port: int, said: bytes, is_right: Callable[[bytes], bool]
    ) -> None:
        """Send a datagram, or a ping, until it is answered; the network may lose some."""
        loop = asyncio.get_running_loop()
        family, proto = (socket.AF_INET6, 58) if ":" in address else (socket.AF_INET, 1)
        with socket.socket(family, socket.SOCK_DGRAM, proto if port == 0 else 0) as sock:
            sock.setblocking(False)
            sock.connect((address, port))
            for turn in range(TIMES):
                self.again[what] += turn > 0
                await loop.sock_sendall(sock, said)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN):
                        while not is_right(await loop.sock_recv(sock, 65536)):
                            pass
                        return
        raise TalkError(f"not answered, asked {TIMES} times")


async def talk(count: int, pause: float, addresses: list[str]) -> None:
    talkers = Talkers(addresses, pause)
    asyncio.get_running_loop().add_reader(0, talkers.ended.set)
    everybody = asyncio.gather(*(talkers.talk(number) for number in range(count)))
    while True:
        done, _ = await asyncio.wait([everybody], timeout=0.5)
        told = {
            "counts": talkers.counts, "octets": talkers.octets, "again": talkers.again,
            "failed": talkers.failed, "failures": talkers.failures, "is_last": bool(done),
        }  # fmt: skip
        print(json.dumps(told), flush=True)
        if done:
            await everybody
            return


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2:]))
    else:
        asyncio.run(talk(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
