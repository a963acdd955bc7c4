"""SOCKS 5 as the server (RFC 1928), with user and password (RFC 1929)."""

import socket
from typing import Final

from tunproxy.relay.failures import (
    BAD,
    UNSUPPORTED,
    WRONG_ADDRESS_KIND,
    RequestFailed,
)
from tunproxy.relay.requests import ASSOCIATE, CONNECT, Request
from tunproxy.relay.stream import Stream
from tunproxy.relay.users import ANONYMOUS, Users

VERSION: Final = 5
NO_LOGIN: Final = 0
PASSWORD: Final = 2
NOTHING_ACCEPTABLE: Final = 0xFF
IPV4: Final = 1
NAME: Final = 3
IPV6: Final = 4
_COMMANDS: Final = {1: CONNECT, 3: ASSOCIATE}


class LoginFailed(Exception):
    """Nobody is served: what had to be said has been said."""


async def understand(stream: Stream, users: Users) -> Request:
    """Hold the conversation up to the request. Raises RequestFailed, LoginFailed, HungUp."""
    user = await _greet(stream, users)
    await stream.need(5)
    version, command, _, kind, size = stream.rest[:5]
    if version != VERSION:
        raise RequestFailed(BAD, f"the request has version {version}")
    lengths = {IPV4: 4, IPV6: 16, NAME: 1 + size}
    if kind not in lengths:
        raise RequestFailed(UNSUPPORTED, f"no address is of kind {kind}", socks_code=WRONG_ADDRESS_KIND)
    end = 4 + lengths[kind]
    await stream.need(end + 2)
    written, port = stream.rest[4:end], int.from_bytes(stream.rest[end : end + 2], "big")
    stream.rest = stream.rest[end + 2 :]
    if command not in _COMMANDS:
        raise RequestFailed(UNSUPPORTED, f"command {command} is not supported")
    protocol = "socks5" if command == 1 else "socks5-udp"
    return Request(_COMMANDS[command], protocol, host_of(kind, written), port, user)


def host_of(kind: int, written: bytes) -> str:
    """Return an address as text; a name comes with its length in front."""
    if kind == NAME:
        return written[1:].decode("ascii", "replace")
    return socket.inet_ntop(socket.AF_INET if kind == IPV4 else socket.AF_INET6, written)


async def _greet(stream: Stream, users: Users) -> str:
    await stream.need(2)
    count = stream.rest[1]
    await stream.need(2 + count)
    methods, stream.rest = stream.rest[2 : 2 + count], stream.rest[2 + count :]
    wanted = NO_LOGIN if users.is_empty else PASSWORD
    if wanted not in methods:
        await stream.say(bytes((VERSION, NOTHING_ACCEPTABLE)))
        raise LoginFailed("the client cannot log in with user and password" if wanted else "no method")
    await stream.say(bytes((VERSION, wanted)))
    if wanted == NO_LOGIN:
        return ANONYMOUS
    return await _log_in(stream, users)


async def _log_in(stream: Stream, users: Users) -> str:
    await stream.need(2)
    size = stream.rest[1]
    await stream.need(3 + size)
    more = stream.rest[2 + size]
    await stream.need(3 + size + more)
    name = stream.rest[2 : 2 + size].decode("utf-8", "replace")
    password = stream.rest[3 + size : 3 + size + more].decode("utf-8", "replace")
    is_version = stream.rest[0] == 1
    stream.rest = stream.rest[3 + size + more :]
    if not is_version or not await users.check(name, password):
        await stream.say(b"\x01\x01")
        raise LoginFailed(f"wrong user or password (user {name[:64]!r})")
    await stream.say(b"\x01\x00")
    return name


def granted(bound: tuple[str, int]) -> bytes:
    """Return the answer that names the address bound here."""
    return b"\x05\x00\x00" + written_address(*bound)


def refused(failure: RequestFailed) -> bytes:
    """Return the answer to a request that is not fulfilled."""
    return bytes((VERSION, failure.socks_code, 0)) + written_address("0.0.0.0", 0)


def written_address(host: str, port: int) -> bytes:
    """Return a numeric address and a port as they stand in requests and answers (RFC 1928 §5)."""
    kind, family = (IPV6, socket.AF_INET6) if ":" in host else (IPV4, socket.AF_INET)
    return bytes((kind,)) + socket.inet_pton(family, host.partition("%")[0]) + port.to_bytes(2, "big")
