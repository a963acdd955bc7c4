"""From a target that is asked for to a connected socket: names are looked up, every address is judged."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tunproxy.relay.failures import DENIED, NO_NAME, TIMED_OUT, RequestFailed, failure_of
from tunproxy.relay.targets import Targets

# our choices
RESOLVERS: Final = 32  # look-ups at a time: a slow one must not hold up the others
MAX_ADDRESSES: Final = 8  # of one name that are tried
MAX_KEPT: Final = 4096  # judgements about who answers
REFUSALS_LAST: Final = 1.0  # seconds: addresses may become ours meanwhile
MAX_NAME: Final = 253  # octets (RFC 1035 §2.3.4)
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))

End = tuple[socket.AddressFamily, str]  # a family and a numeric address


class Dialer:
    """Reaches targets. time_limit is in seconds, for the look-up and for all attempts together.

    resolve is asked for a name's addresses, in a thread; it raises OSError or UnicodeError.
    """

    def __init__(
        self, targets: Targets, time_limit: float, resolve: Callable[[str], list[End]] | None = None
    ) -> None:
        self._resolve: Final = resolve or _resolve
        self._targets: Final = targets
        self._time_limit: Final = time_limit
        self._threads: Final = ThreadPoolExecutor(RESOLVERS, "resolve")
        self._answers: Final[dict[tuple[str, int], bool]] = {}
        self._refusals: Final[dict[tuple[str, int, str], str]] = {}
        self._refusals_until = 0.0

    def close(self) -> None:
        """Wait for nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def may_answer(self, address: str, port: int) -> bool:
        """Return whether datagrams from there may reach a client: what may not be asked may not answer."""
        key = (address, port)
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) >= MAX_KEPT:
                self._answers.clear()
            found = self._answers[key] = not self._targets.refuses(address, port)
        return found

    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a connected, non-blocking TCP socket. Raises RequestFailed."""
        try:
            async with asyncio.timeout(self._time_limit):
                return await self._connect(host, port)
        except TimeoutError:
            raise RequestFailed(TIMED_OUT, "no answer from the target") from None

    async def allowed(self, host: str, port: int) -> list[End]:
        """Return the addresses of host that may be reached, at least one. Raises RequestFailed."""
        try:
            async with asyncio.timeout(self._time_limit):
                return await self._allowed(host, port)
        except TimeoutError:
            raise RequestFailed(NO_NAME, "no resolver answers") from None

    async def _connect(self, host: str, port: int) -> socket.socket:
        last: OSError | None = None
        ends = await self._allowed(host, port)
        for number, (family, address) in enumerate(ends):
            try:
                if number == len(ends) - 1:
                    return await _dial(family, address, port)
                async with asyncio.timeout(self._time_limit / 2):
                    return await _dial(family, address, port)
            except TimeoutError as error:
                last = error if error.errno else TimeoutError(110, "timed out")
            except OSError as error:
                last = error
        assert last is not None
        raise failure_of(last) from last

    async def _allowed(self, host: str, port: int) -> list[End]:
        if not 1 <= port <= 65_535:
            raise RequestFailed(DENIED, f"{port} is no port")
        numeric = _numeric(host)
        name = "" if numeric else host
        if name and self._targets.refuses_name(name, port):
            raise RequestFailed(DENIED, "the relay does not allow this target")
        ends = [numeric] if numeric else await self._look_up(host, port)
        found = []
        why = ""
        for end in ends:
            refused = self._refusal(end[1], port, name)
            if refused:
                why = refused
            else:
                found.append(end)
        if not found:
            raise RequestFailed(DENIED, why)
        return found[:MAX_ADDRESSES]

    def _refusal(self, address: str, port: int, name: str) -> str:
        """Return why an address is refused, "" where it is not, as it was found out a moment ago."""
        now = time.monotonic()
        if now >= self._refusals_until or len(self._refusals) >= MAX_KEPT:
            self._refusals.clear()
            self._refusals_until = now + REFUSALS_LAST
        key = (address, port, name)
        found = self._refusals.get(key)
        if found is None:
            found = self._refusals[key] = self._targets.refuses(address, port, name)
        return found

    async def _look_up(self, host: str, port: int) -> list[End]:
        if not can_be_a_name(host):
            raise RequestFailed(NO_NAME, "that is no name")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, self._resolve, host)
        except (OSError, UnicodeError) as error:
            raise RequestFailed(NO_NAME, "the name cannot be resolved") from error
        return list(dict.fromkeys(found))


def _resolve(host: str) -> list[End]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [(family, str(address[0])) for family, _, _, _, address in found]


def can_be_a_name(host: str) -> bool:
    """Tell whether a resolver may be asked for host."""
    is_text = host.isascii() and host.isprintable() and not set(host) & set(" /@\\")
    return 0 < len(host) <= MAX_NAME and is_text


def _numeric(host: str) -> End | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return family, socket.inet_ntop(family, socket.inet_pton(family, host))
        except (OSError, ValueError):
            continue
    return None


async def _dial(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        prepare(sock)
        error = sock.connect_ex((address, port))
        if error == errno.EINPROGRESS:
            await _until_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        sock.close()
        raise
    return sock


async def _until_writable(sock: socket.socket) -> None:
    """Wait; what asyncio has for connecting parses the address once more, and takes twice as long."""
    loop = asyncio.get_running_loop()
    writable = loop.create_future()
    loop.add_writer(sock.fileno(), _wake, writable)
    try:
        await writable
    finally:
        loop.remove_writer(sock.fileno())


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def prepare(sock: socket.socket) -> None:
    """Set what every socket of a flow has: no delay, and a look whether the other end is there."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
