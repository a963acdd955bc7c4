"""A transfer of any size both ways at once, compared by hash and never held in memory as a whole."""

import hashlib
import socket
from collections.abc import Iterator
from functools import cache

from tests.system.peers import MEGABYTE, Task, block
from tests.unit.codecs.streams import json_lines

LEADS = {"up": 7919, "down": 104_729}  # where in the noise a direction begins: no two are alike


@cache
def _lines() -> bytes:
    return json_lines(12_000)


def pieces(direction: str, size: int) -> Iterator[memoryview]:
    """Yield size octets: by turns noise, which does not shrink, and a log, which does."""
    noise, lines = memoryview(block()), memoryview(_lines())
    at = LEADS[direction]
    number = 0
    while size:
        head = b"%s %012d\n" % (direction.encode(), number)
        source = noise if number // 4 % 2 else lines
        start = at % (len(source) - MEGABYTE) if len(source) > MEGABYTE else 0
        for piece in (memoryview(head), source[start : start + MEGABYTE]):
            yield piece[:size]
            size -= len(piece[:size])
            if not size:
                return
        at += 15_485_863
        number += 1


def send(sock: socket.socket, direction: str, size: int) -> str:
    """Send size octets; return their hash."""
    hasher = hashlib.blake2b()
    for piece in pieces(direction, size):
        hasher.update(piece)
        sock.sendall(piece)
    return hasher.hexdigest()


def receive(sock: socket.socket, size: int) -> str:
    """Receive size octets; return their hash. Raises ConnectionError where the stream ends before."""
    hasher = hashlib.blake2b()
    room = memoryview(bytearray(1 << 18))
    while size:
        count = sock.recv_into(room, min(len(room), size))
        if not count:
            raise ConnectionError(f"the stream ends {size} octets too early")
        hasher.update(room[:count])
        size -= count
    return hasher.hexdigest()


class Both:
    """One end of a transfer: sends and receives at once."""

    def __init__(self, sock: socket.socket, out: str, into: str, size: int) -> None:
        self._sending: Task[str] = Task(send, sock, out, size)
        self._receiving: Task[str] = Task(receive, sock, size)
        self.out = out
        self.into = into

    def hashes(self, timeout: float) -> dict[str, str]:
        """Return the hash of what was sent and of what arrived, by direction."""
        return {self.out: self._sending.result(timeout), self.into: self._receiving.result(timeout)}
