"""Sockets that clients come in by: one a worker at each place, between which the kernel divides them."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.relay.addresses import Listen, peer_name
from tunproxy.relay.dialing import prepare
from tunproxy.relay.last_clients import let_nobody_begin, let_speak

# our choices
BACKLOG: Final = 1024
AT_ONCE: Final = 64  # clients that are accepted before others have their turn
LAST_HANDSHAKES: Final = 0.25  # seconds in which clients complete theirs: a way round the world
PAUSE: Final = 0.2  # seconds without accepting, where there is no descriptor left

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_log: Final = logging.getLogger(__name__)


def bind(listen: Listen, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return a non-blocking socket that is bound, beside those of other workers, and does not listen yet.

    Raises SystemChangeError.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise SystemChangeError(f"cannot listen at {listen}: {(error.strerror or '').lower()}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listen.host != "::")
        if kind == socket.SOCK_STREAM:
            prepare(sock)  # whoever is accepted inherits it
        sock.bind((listen.host, listen.port))
    except OSError as error:
        sock.close()
        raise SystemChangeError(_words(listen, error)) from error
    return sock


def reserve(listens: list[Listen]) -> tuple[list[socket.socket], list[Listen]]:
    """Bind each place, so that it stays ours while workers come and go; return the sockets, and the ports.

    A socket that is bound and does not listen is given no connections. Raises SystemChangeError, and
    ConfigError where a place is given twice.
    """
    held: list[socket.socket] = []
    found: list[Listen] = []
    try:
        for listen in listens:
            if listen in found:
                raise ConfigError(f"cannot listen at {listen} twice")
            if listen.port:
                _check_free(listen)
            held.append(bind(listen))
            found.append(Listen(listen.host, held[-1].getsockname()[1]))
    except BaseException:
        for sock in held:
            sock.close()
        raise
    return held, found


def _check_free(listen: Listen) -> None:
    """Raise where somebody listens there already: another relay of the same user would share the port."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, listen.host != "::")
        try:
            sock.bind((listen.host, listen.port))
        except OSError as error:
            raise SystemChangeError(_words(listen, error)) from error


def _words(listen: Listen, error: OSError) -> str:
    why = (error.strerror or str(error)).lower()
    hint = {
        errno.EADDRINUSE: " (another program listens there)",
        errno.EACCES: " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        errno.EADDRNOTAVAIL: " (this host has no such address)",
    }.get(error.errno or 0, "")
    return f"cannot listen at {listen}: {why}{hint}"


class Acceptor:
    """Accepts what comes to a listening socket, until it is closed. on_client gets the socket and a name."""

    def __init__(self, sock: socket.socket, on_client: Callable[[socket.socket, str], None]) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._sock: Final = sock
        self._on_client: Final = on_client
        self._resume: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._is_told = False
        sock.listen(BACKLOG)
        self._loop.add_reader(sock.fileno(), self._accept, AT_ONCE)

    @property
    def is_closed(self) -> bool:
        return self._sock.fileno() < 0

    def finish(self) -> None:
        """Let nobody begin any more, take who has begun, and close in a moment."""
        if self.is_closed or self._closing is not None:
            return
        if let_nobody_begin(self._sock):
            self._closing = self._loop.call_later(LAST_HANDSHAKES, self.close)
        else:
            self.close()

    def close(self) -> None:
        """Take whom the kernel has let in already, and nobody after that."""
        if self.is_closed:
            return
        let_nobody_begin(self._sock)
        for timer in (self._resume, self._closing):
            if timer is not None:
                timer.cancel()
        self._accept(BACKLOG + 1)  # as many as the kernel keeps
        self._loop.remove_reader(self._sock.fileno())
        if self._resume is not None:
            self._resume.cancel()
        self._sock.close()

    def _accept(self, most: int) -> None:
        for _ in range(most):
            try:
                client, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                continue  # that client has gone before it came (accept(2), "Error handling")
            client.setblocking(False)
            if self._closing is not None:
                let_speak(client)
            self._on_client(client, peer_name(address))

    def _pause(self, error: OSError) -> None:
        """Leave the rest waiting: those that are here will end, and give their descriptors back."""
        if not self._is_told:
            self._is_told = True
            _log.warning(
                "cannot accept: %s (raise the limit of open files, or lower [limits] connections)",
                (error.strerror or "").lower(),
            )
        self._loop.remove_reader(self._sock.fileno())
        self._resume = self._loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._sock.fileno(), self._accept, AT_ONCE)
