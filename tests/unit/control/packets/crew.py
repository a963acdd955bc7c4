"""Workers that ship what a test says, for those who ask them as a supervisor does."""

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from tunproxy.control.packets import shipping
from tunproxy.control.questions import Questions, answer_on, socket_pair

TOLD = {
    "device": "tun7",
    "mtu": 1500,
    "offload": "csum",
    "policy": {"source": "/etc/x.toml", "generation": 3, "rules": 5, "default": "direct"},
}


class Worker:
    """Answers for ``capture``, and keeps the ends that it was given in channels; refusal is said instead."""

    def __init__(self, refusal: str = "") -> None:
        ours, self._theirs = socket_pair()
        self.asked: list[dict[str, Any]] = []
        self.channels: list[socket.socket] = []
        self.questions = Questions(ours)
        self.refusal = refusal
        answer_on(asyncio.get_running_loop(), self._theirs, {}, {"capture": self._answer})

    def ship(self, *records: bytes | list[bytes]) -> None:
        """Ship records, as one who is read does."""
        for record in records:
            self.channels[-1].sendall(record if isinstance(record, bytes) else b"".join(record))

    def die(self) -> None:
        for each in self.channels:
            each.close()

    async def end_when_told(self, seen: int = 0, lost: int = 0) -> None:
        """Wait until no more is wanted, ship the counts, and close."""
        channel = self.channels[-1]
        channel.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(channel, 10) == b""
        self.ship(shipping.counts(seen, lost))
        channel.close()

    async def _answer(self, letter: int, channel: int) -> dict[str, Any]:
        with os.fdopen(letter, "r+b") as file:
            self.asked.append(json.loads(file.read()))
            said = json.dumps({"error": self.refusal} if self.refusal else TOLD).encode()
            file.seek(0)
            file.truncate()
            file.write(said)
        sock = socket.socket(fileno=channel)
        if self.refusal:
            sock.close()
        else:
            self.channels.append(sock)
        return {"length": len(said)}


def packet(
    at: int, data: bytes = b"packet", *, lost: int = 0, comment: str = "", is_up: bool = True
) -> list[bytes]:
    return shipping.packet(at, is_up, data, len(data), lost, comment, "")


def questions_of(workers: Sequence[Worker]) -> list[Questions]:
    return [each.questions for each in workers]
