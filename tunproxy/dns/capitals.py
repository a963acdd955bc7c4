"""Letters in capitals by chance, for who would forge an answer to guess ("0x20", draft-vixie-dnsext-dns0x20).

Names are compared without regard to case, and resolvers send the question back as it came. So an answer over
UDP whose question has other capitals is forged, or from one of the few resolvers that write names their own
way. Which of the two is found out over TCP, where nobody answers who does not see what we send: a resolver
that has its own way there as well is asked without capitals for a while.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Final

from tunproxy.dns.answers import GarbageError
from tunproxy.dns.labels import skip_name
from tunproxy.dns.message import HEADER_LEN
from tunproxy.dns.own import OwnQueries
from tunproxy.dns.transport import Transport

# our choices
PLAIN_FOR: Final = 3600.0  # seconds for which a resolver is asked without capitals that does not keep them
TCP_PATIENCE: Final = 1.0  # seconds: a resolver has two in all, and may have no TCP
_CASE: Final = 0x20

_log: Final = logging.getLogger(__name__)


class CapitalsTransport(Transport):
    """Asks over plain, UDP, with capitals by chance, and over certain, TCP, where they do not come back."""

    def __init__(
        self,
        label: str,
        plain: Transport,
        certain: Transport,
        clock: Callable[[], float] = time.monotonic,
        own: OwnQueries | None = None,
    ) -> None:
        """label is what people call the resolver. certain is closed by whoever made it. own knows queries."""
        self._label: Final = label
        self._plain: Final = plain
        self._certain: Final = certain
        self._clock: Final = clock
        self._own: Final = own if own is not None else OwnQueries()
        self._plain_until = 0.0

    async def exchange(self, query: bytes) -> bytes:
        if self._clock() < self._plain_until:
            return await self._plain.exchange(query)
        asked = capitalized(query)
        with self._own.sent(asked, has_chance=True):
            wire = await self._plain.exchange(asked)
        if has_same_question(asked, wire):
            return restored(query, wire)
        try:
            async with asyncio.timeout(TCP_PATIENCE):
                wire = await self._certain.exchange(asked)
        except (OSError, EOFError, GarbageError):  # TimeoutError is an OSError
            self._give_up("and cannot be asked over TCP")
            return await self._plain.exchange(query)
        if wire[4:6] == b"\0\1" and not has_same_question(asked, wire):
            self._give_up("over TCP neither")
        return restored(query, wire)

    async def close(self) -> None:
        await self._plain.close()

    def _give_up(self, more: str) -> None:
        self._plain_until = self._clock() + PLAIN_FOR
        _log.info(
            "resolver %s does not keep the capitals of names, %s: asked without them", self._label, more
        )


def capitalized(query: bytes) -> bytes:
    """Return query with each letter of its question's name in capitals or not, by chance."""
    end = skip_name(query, HEADER_LEN)
    chance = secrets.randbits(end - HEADER_LEN)
    name = bytearray(query[HEADER_LEN:end])
    at = 0
    while at < len(name):  # the lengths of labels are no letters
        for place in range(at + 1, at + 1 + name[at]):
            if chr(name[place] | _CASE) in "abcdefghijklmnopqrstuvwxyz" and chance >> place & 1:
                name[place] ^= _CASE
        at += name[at] + 1
    return query[:HEADER_LEN] + bytes(name) + query[end:]


def has_same_question(query: bytes, wire: bytes) -> bool:
    """Tell whether wire, a response to query, has its question to the letter."""
    end = skip_name(query, HEADER_LEN) + 4
    return wire[4:6] == b"\0\1" and wire[HEADER_LEN:end] == query[HEADER_LEN:end]


def restored(query: bytes, wire: bytes) -> bytes:
    """Return wire with the question as query has it, and so all names that point there."""
    if wire[4:6] != b"\0\1":
        return wire
    end = skip_name(query, HEADER_LEN) + 4
    return wire[:HEADER_LEN] + query[HEADER_LEN:end] + wire[end:]
