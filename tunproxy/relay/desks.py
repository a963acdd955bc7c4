"""What workers serve Shadowsocks datagrams with: a socket of each place for each, and a way to each other.

The kernel gives what comes from one address and port to one socket, always the same one, as long as there
are the same sockets. So the first process has them all open: when a worker dies, nobody's datagrams come to
another one, and the next one with its number finds what has come meanwhile.

A client's port may change (SIP022 §3.2.4). Then another worker hears it, and hands over what it hears:

    length of head, 2 octets │ head: [place, address …] in JSON │ datagram
"""

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.codecs.shadowsocks_keys import method_named
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_sessions import SessionMemory
from tunproxy.relay.addresses import Listen
from tunproxy.relay.listening import bind
from tunproxy.relay.settings import RelayConfig
from tunproxy.relay.shared_salts import SharedSalts
from tunproxy.relay.shared_sessions import SharedSessions

Address = tuple[object, ...]

# our choice
INBOX_OCTETS: Final = 1 << 20  # where the host allows as much

_LENGTH: Final = 2


@dataclass(frozen=True)
class Desk:
    """What is one worker's: a socket for each place, and its inbox; and what it has together with others."""

    number: int
    socks: Sequence[socket.socket]
    inbox: socket.socket
    outboxes: Sequence[socket.socket]
    sessions: SessionMemory
    salts: SaltMemory

    def hand_over(self, number: int, place: int, address: Address, datagram: bytes) -> bool:
        """Give another worker what is for it; return whether it has room."""
        head = json.dumps([place, *address]).encode()
        try:
            self.outboxes[number].send(len(head).to_bytes(_LENGTH, "big") + head + datagram)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close what is ours."""
        for sock in (*self.socks, self.inbox, *self.outboxes):
            sock.close()


def parse_handed(message: bytes) -> tuple[int, Address, bytes]:
    """Return place, address and datagram."""
    end = _LENGTH + int.from_bytes(message[:_LENGTH], "big")
    place, *address = json.loads(message[_LENGTH:end])
    return place, tuple(address), message[end:]


class Desks:
    """Those of all workers. Made before they are forked."""

    def __init__(self, config: RelayConfig, places: Sequence[Listen], workers: int) -> None:
        """Raises SystemChangeError."""
        assert config.shadowsocks is not None
        method = method_named(config.shadowsocks.method)
        self._sessions: Final = SharedSessions(config.limits.udp_idle)
        self._salts: Final = SharedSalts(method.key_len, is_2022=False)
        self._inboxes: Final = [_inbox() for _ in range(workers)]
        self._socks: Final[list[list[socket.socket]]] = []
        try:
            for _ in range(workers):
                self._socks.append([])
                for place in places:
                    self._socks[-1].append(bind(place, socket.SOCK_DGRAM))
        except BaseException:
            self.close()
            raise

    def take(self, number: int) -> Desk:
        """Be a worker: return what is its, and close what is only the others'."""
        for other, socks in enumerate(self._socks):
            if other != number:
                self._inboxes[other][0].close()
                for sock in socks:
                    sock.close()
        self._sessions.number = number
        outboxes = [outbox for _, outbox in self._inboxes]
        return Desk(
            number, self._socks[number], self._inboxes[number][0], outboxes, self._sessions, self._salts
        )

    def close(self) -> None:
        """Close all, for this process."""
        for socks in self._socks:
            for sock in socks:
                sock.close()
        for inbox, outbox in self._inboxes:
            inbox.close()
            outbox.close()


def desks_of(config: RelayConfig, places: Sequence[Listen], workers: int) -> Desks | None:
    """Return the desks, where datagrams of Shadowsocks are served. Raises SystemChangeError."""
    if config.shadowsocks is None or not config.shadowsocks.udp or not places:
        return None
    return Desks(config, places, workers)


def _inbox() -> tuple[socket.socket, socket.socket]:
    inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for sock in (inbox, outbox):
        sock.setblocking(False)
    outbox.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, INBOX_OCTETS)
    return inbox, outbox
