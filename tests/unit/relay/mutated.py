"""Requests of the relay's protocols, changed at random, for its parsers: what do they raise?"""

import random
from collections.abc import Callable

from tunproxy.codecs.capsules import CapsuleReader, emit_datagram
from tunproxy.errors import RemoteProtocolError, TunproxyError
from tunproxy.relay import http_connect, socks
from tunproxy.relay.addresses import parse_listen
from tunproxy.relay.failures import HungUp, RequestFailed
from tunproxy.relay.http_connect import HttpHead
from tunproxy.relay.requests import Request
from tunproxy.relay.socks_udp import parse_datagram
from tunproxy.relay.targets import parse_entry
from tunproxy.relay.users import Users
from tunproxy.secret import Secret

HTTP = (
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"
    b"Proxy-Authorization: Basic am9lOmZpc2g=\r\nTunnel-Codecs: zstd;dict=7, gzip\r\n\r\nearly",
    b"GET /.well-known/masque/udp/2001%3Adb8%3A%3A7/53/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: connect-udp\r\nCapsule-Protocol: ?1\r\nProxy-Authorization: Basic am9lOmZpc2g=\r\n\r\n",
    b"CONNECT [2001:db8::7]:443 HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
)
SOCKS = (
    b"\x05\x02\x00\x02\x01\x03joe\x04fish\x05\x01\x00\x03\x0bexample.com\x01\xbbearly",
    b"\x05\x01\x02\x01\x03joe\x04fish\x05\x03\x00\x04" + bytes(16) + b"\x00\x35",
    b"\x05\x01\x02\x01\x03joe\x04fish\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50",
)
DATAGRAMS = (
    b"\x00\x00\x00\x01\xc0\x00\x02\x07\x00\x35hello",
    b"\x00\x00\x00\x03\x0bexample.com\x00\x35hello",
    b"\x00\x00\x00\x04" + bytes(16) + b"\x00\x35hello",
)
CAPSULES = (emit_datagram(b"hello") + b"\x17\x03abc" + emit_datagram(bytes(100)),)
ENTRIES = (b"[2001:db8::/32]:443", b"*.example.com:1-65535", b"192.0.2.0/24:80", b"*:25")
LISTENS = (b"[2001:db8::7]:8080", b"192.0.2.1:8080", b":1")


class CutStream:
    """A stream that has all that it will ever have; what is said to it is counted."""

    def __init__(self, data: bytes) -> None:
        self.rest = b""
        self.said = 0
        self._left = data

    async def more(self) -> None:
        if not self._left:
            raise HungUp("that was all")
        self.rest += self._left[:100]
        self._left = self._left[100:]

    async def need(self, count: int) -> None:
        while len(self.rest) < count:
            await self.more()

    async def say(self, words: bytes) -> None:
        self.said += len(words)


def mutate(seed: bytes, chance: random.Random) -> bytes:
    """Return seed with a few octets changed, put in, left out or said twice, and sometimes cut off."""
    data = bytearray(seed)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        how = chance.randrange(5)
        if how == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif how == 1:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif how == 2:
            del data[at : at + chance.randrange(1, 9)]
        elif how == 3:
            data[at:at] = data[: chance.randrange(40)]
        elif how == 4 and chance.random() < 0.2:
            del data[at:]
    return bytes(data)


def finish(coroutine: object) -> object:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits for something")


USERS = Users({"joe": Secret("fish")})


def try_http(data: bytes) -> None:
    stream = CutStream(data)
    head = finish(http_connect.read_head(stream))  # type: ignore[arg-type]
    assert isinstance(head, HttpHead)
    check_request(finish(http_connect.understand(head, USERS)))


def try_socks(data: bytes) -> None:
    stream = CutStream(data)
    check_request(finish(socks.understand(stream, USERS)))  # type: ignore[arg-type]
    assert stream.said <= 4


def check_request(request: object) -> None:
    assert isinstance(request, Request)
    assert request.user == "joe"
    assert len(str(request)) < 20_000


def try_datagram(data: bytes) -> None:
    found = parse_datagram(data)
    assert found is None or (0 <= found[1] <= 65_535 and found[2] <= len(data))


def try_capsules(data: bytes) -> None:
    reader = CapsuleReader()
    half = len(data) // 2
    found = reader.take(data[:half]) + reader.take(data[half:])
    assert sum(map(len, found)) <= len(data)


TRIALS: tuple[tuple[tuple[bytes, ...], Callable[[bytes], object]], ...] = (
    (HTTP, try_http),
    (SOCKS, try_socks),
    (DATAGRAMS, try_datagram),
    (CAPSULES, try_capsules),
    (ENTRIES, lambda data: parse_entry(data.decode("latin-1"))),
    (LISTENS, lambda data: parse_listen(data.decode("latin-1"))),
)
FORESEEN = (RequestFailed, HungUp, socks.LoginFailed, RemoteProtocolError, TunproxyError)


def attack(count: int, seed: int) -> dict[str, int]:
    """Try so many inputs; return how often each end was met. Raises what nobody has foreseen."""
    chance = random.Random(seed)
    ends: dict[str, int] = {}
    for number in range(count):
        seeds, trial = TRIALS[number % len(TRIALS)]
        data = mutate(chance.choice(seeds), chance)
        try:
            trial(data)
            end = "accepted"
        except FORESEEN as error:
            end = type(error).__name__
        except Exception as error:
            raise AssertionError(f"{trial}: {data!r}: {error!r}") from error
        ends[end] = ends.get(end, 0) + 1
    return ends
