"""Runs the coroutines of upstreams that hold a conversation first, and tells the flows how they ended.

The packet path asks from inside ``select()``; the coroutine runs once that returns, which is why the loop
is asked to yield. Whatever an upstream does wrong stays here: every request is answered once, or cancelled,
and nothing that a coroutine raises reaches the loop.
"""

import asyncio
import errno
import logging
import socket
import ssl
from _socket import socket as raw_socket  # what socket.socket extends, and all that a flow needs
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tunproxy.errors import UpstreamError
from tunproxy.flow.ports import Opener, OpenRequest, SocketMaker
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.upstream.base import REFUSED, SILENT, UNREACHABLE, Dialer, OpenUpstream
from tunproxy.upstream.sockets import KernelSockets

# what connect() reports of the other side, or of ourselves running short, which passes
_TOLD: Final = frozenset(
    {
        errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH,
        errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.ETIMEDOUT,
        errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
    }
)  # fmt: skip

# our choices
TIME_LIMIT: Final = 30.0  # seconds: longer than a handshake through two slow proxies, shorter than patience
CANCEL_LIMIT: Final = 1.0  # seconds that cancelled coroutines get to clean up when we end

_log: Final = logging.getLogger(__name__)


class Yielding(Protocol):
    """The part of the packet path that lets asyncio have its turn."""

    def yield_loop(self) -> None:
        """Have the select() that is running return soon."""


@dataclass(frozen=True)
class OpenerStatistics:
    """What became of the flows so far. faults counts, by upstream, what should never have happened."""

    pending: int
    opened: int
    failed: int
    faults: Mapping[str, int]


class AsyncOpener(Opener):
    """Opens upstreams on an asyncio loop. time_limit is in seconds, for each flow."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dataplane: Yielding,
        sockets: SocketMaker | None = None,
        *,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self._loop: Final = loop
        self._dataplane: Final = dataplane
        self._dialer: Final = AsyncDialer(loop, sockets or KernelSockets(0, ""))
        self._time_limit: Final = time_limit
        self._pending: Final[dict[OpenRequest, _Opening]] = {}  # neither answered nor cancelled
        self._tasks: Final[set[asyncio.Task[None]]] = set()  # these and those that still clean up
        self._is_closed = False
        self._opened = 0
        self._failed = 0
        self._faults: Final[Counter[str]] = Counter()

    def open(self, info: FlowInfo, verdict: Verdict, request: OpenRequest) -> None:
        if self._is_closed:
            request.failed(REFUSED)
            return
        opening = _Opening(info, verdict, request)
        opening.timer = self._loop.call_later(self._time_limit, self._on_time_limit, opening)
        self._pending[request] = opening
        opening.task = self._loop.create_task(self._run(opening), name=f"open {info}")
        self._tasks.add(opening.task)
        opening.task.add_done_callback(self._tasks.discard)
        self._dataplane.yield_loop()

    def cancel(self, request: OpenRequest) -> None:
        opening = self._pending.get(request)
        if opening is not None and self._settle(opening) and not self._loop.is_closed():
            opening.stop()
            self._dataplane.yield_loop()

    def close(self) -> None:
        """Cancel everything; no request is answered after this. Runs the loop where it does not run."""
        self._is_closed = True
        for opening in list(self._pending.values()):
            self._settle(opening)
        for task in self._tasks:
            task.cancel()
        if self._tasks and not self._loop.is_running():
            self._loop.run_until_complete(asyncio.wait(set(self._tasks), timeout=CANCEL_LIMIT))

    def statistics(self) -> OpenerStatistics:
        """Return the counts so far."""
        return OpenerStatistics(len(self._pending), self._opened, self._failed, dict(self._faults))

    async def _run(self, opening: "_Opening") -> None:
        """Let the upstream open the flow, and hand on what it answers."""
        upstream = opening.verdict.opener
        sock: object = None
        try:
            if not isinstance(upstream, OpenUpstream):
                raise TypeError(f"{upstream!r} is no OpenUpstream")
            sock = await upstream.open(opening.info, self._dialer)
            checked = _checked(sock, self._loop)
        except BaseException as error:  # a plugin's sys.exit() must not end the process either
            _discard(sock)
            if opening.request in self._pending:
                self._on_error(opening, error)
            elif isinstance(error, asyncio.CancelledError):
                raise
            return
        if self._settle(opening):
            self._opened += 1
            opening.request.opened(checked)
        else:
            checked.close()  # too late: nobody wants it any more

    def _on_error(self, opening: "_Opening", error: BaseException) -> None:
        info, name = opening.info, opening.verdict.upstream
        if isinstance(error, UpstreamError):
            _log.warning("%s: upstream %s: %s", info, name, error)
        elif isinstance(error, (OSError, EOFError)):
            _log.info("%s: upstream %s: %s", info, name, str(error) or type(error).__name__)
        else:
            self._faults[name] += 1
            _log.error("%s: upstream %s is faulty", info, name, exc_info=error)
        self._fail(opening, errno_of(error))

    def _on_time_limit(self, opening: "_Opening") -> None:
        name = opening.verdict.upstream
        _log.info("%s: upstream %s: not open after %g s", opening.info, name, self._time_limit)
        self._fail(opening, SILENT)
        opening.stop()

    def _fail(self, opening: "_Opening", error: int) -> None:
        if self._settle(opening):
            self._failed += 1
            opening.request.failed(error)

    def _settle(self, opening: "_Opening") -> bool:
        """Make sure that a request is answered or cancelled only once; return whether it still may be."""
        if self._pending.pop(opening.request, None) is None:
            return False
        if opening.timer is not None:
            opening.timer.cancel()
        return True


class AsyncDialer(Dialer):
    """Connects the sockets of a SocketMaker on an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sockets: SocketMaker) -> None:
        self._loop: Final = loop
        self._sockets: Final = sockets

    async def connect(self, host: str, port: int) -> socket.socket:
        error = OSError(errno.EHOSTUNREACH, f"no address for {host!r}")
        for family, address in await self._addresses(host, port):
            sock = self._socket(family)
            try:
                await self._loop.sock_connect(sock, address)
                return sock
            except OSError as failure:
                sock.close()
                error = failure
            except BaseException:
                sock.close()
                raise
        raise error

    async def _addresses(self, host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, host)
            except OSError:
                continue
            return [(family, (host, port))]
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, (str(address[0]), port)) for family, _, _, _, address in found]

    def _socket(self, family: int) -> socket.socket:
        """Return a socket with all that Python's own have, which a SocketMaker's lack."""
        bare = self._sockets.tcp(family)
        sock = socket.socket(family, socket.SOCK_STREAM, fileno=bare.detach())
        sock.setblocking(False)
        return sock


class _Opening:
    """One request under way."""

    def __init__(self, info: FlowInfo, verdict: Verdict, request: OpenRequest) -> None:
        self.info: Final = info
        self.verdict: Final = verdict
        self.request: Final = request
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Cancel the coroutine."""
        if self.task is not None:
            self.task.cancel()


def errno_of(error: BaseException) -> int:
    """Return the errno that tells a client of this failure: refused, where nothing better is known."""
    if isinstance(error, socket.gaierror):  # numbers of its own
        return UNREACHABLE
    if isinstance(error, TimeoutError):
        return SILENT
    if isinstance(error, ssl.SSLError):  # numbers of its own, too
        return REFUSED
    number = getattr(error, "errno", None)
    return number if number in _TOLD else REFUSED


def _checked(sock: object, loop: asyncio.AbstractEventLoop) -> socket.socket:
    """Return sock if a flow can use it; raises TypeError or ValueError saying why not."""
    if not isinstance(sock, raw_socket):
        raise TypeError(f"open() returned {sock!r}, not a socket")
    if sock.type != socket.SOCK_STREAM or isinstance(sock, ssl.SSLSocket):
        raise ValueError(f"open() returned {sock!r}, not a plain stream")
    if sock.gettimeout() != 0:
        raise ValueError("open() returned a blocking socket (setblocking(False))")
    try:
        sock.getpeername()
    except OSError as error:
        raise ValueError(f"open() returned a socket that is not connected: {error}") from error
    try:
        loop.remove_reader(sock.fileno())
        loop.remove_writer(sock.fileno())
    except RuntimeError as error:
        raise ValueError("open() returned a socket that an asyncio transport uses") from error
    return sock  # type: ignore[return-value]  # a raw socket does for a flow


def _discard(sock: object) -> None:
    """Close what was returned in vain, where it is a socket."""
    if isinstance(sock, raw_socket):
        sock.close()
