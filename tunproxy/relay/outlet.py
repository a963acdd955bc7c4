"""Datagrams to any target that may be reached, and back from whoever answers, for one client's port.

One socket for each family, whoever the client writes to, so that servers see one port (RFC 4787 §4.1).
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from tunproxy.relay.dialing import Dialer, End
from tunproxy.relay.failures import RequestFailed
from tunproxy.relay.limits import Account
from tunproxy.relay.metrics import DATAGRAMS_DOWN, DATAGRAMS_DROPPED, DATAGRAMS_UP, Tally

# our choices
MAX_DATAGRAM: Final = 65_535
AT_ONCE: Final = 64  # datagrams that are read before others have their turn
MAX_TARGETS: Final = 1024  # whose judgement is kept
MAX_WAITING: Final = 32  # datagrams that wait for names to be looked up


class Outlet:
    """on_reply(host, port, payload) is called for each datagram that comes back; host is numeric."""

    def __init__(
        self, dialer: Dialer, account: Account, tally: Tally, on_reply: Callable[[str, int, bytes], None]
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._dialer: Final = dialer
        self._account: Final = account
        self._tally: Final = tally
        self._on_reply: Final = on_reply
        self._socks: Final[dict[int, socket.socket]] = {}
        self._ends: Final[dict[tuple[str, int], End | None]] = {}  # None: may not be reached
        self._waiting = 0
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._is_closed = False

    def send(self, host: str, port: int, payload: bytes) -> None:
        """Send payload to host, an address or a name. Never raises: what cannot go is dropped and counted."""
        key = (host, port)
        if key in self._ends:
            self._send(self._ends[key], port, payload)
        elif self._waiting >= MAX_WAITING:
            self._tally.add(DATAGRAMS_DROPPED)
        else:
            self._waiting += 1
            task = self._loop.create_task(self._judge(host, port, payload))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Close the sockets."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        for sock in self._socks.values():
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._socks.clear()

    async def _judge(self, host: str, port: int, payload: bytes) -> None:
        end: End | None = None
        try:
            end = (await self._dialer.allowed(host, port))[0]
        except RequestFailed:
            pass
        finally:
            self._waiting -= 1
        if self._is_closed:
            return
        if len(self._ends) >= MAX_TARGETS:
            self._ends.clear()
        self._ends[host, port] = end
        self._send(end, port, payload)

    def _send(self, end: End | None, port: int, payload: bytes) -> None:
        if end is None or not self._account.admits(len(payload)):
            self._tally.add(DATAGRAMS_DROPPED)
            return
        try:
            self._socket(end[0]).sendto(payload, (end[1], port))
        except OSError:  # no room, no way, too long: all the same to a datagram
            self._tally.add(DATAGRAMS_DROPPED)
            return
        self._tally.add(DATAGRAMS_UP)
        self._account.on_up(len(payload))

    def _socket(self, family: int) -> socket.socket:
        sock = self._socks.get(family)
        if sock is None:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socks[family] = sock
            self._loop.add_reader(sock.fileno(), self._on_readable, sock)
        return sock

    def _on_readable(self, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                payload, sender = sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about something sent before
                continue
            if self._is_closed:
                return
            may_answer = self._dialer.may_answer(sender[0], sender[1])
            if not may_answer or not self._account.admits(len(payload)):
                self._tally.add(DATAGRAMS_DROPPED)
                continue
            self._tally.add(DATAGRAMS_DOWN)
            self._account.on_down(len(payload))
            self._on_reply(sender[0], sender[1], payload)
