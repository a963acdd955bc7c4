"""Answers queries: from what is known here, or from resolvers.

    hosts ─▶ fake addresses ─▶ cache ─▶ the same question under way? ─▶ resolvers
    └────────── at once, without a task ──────────┘ └────── a task ──────────┘

Whatever octets come, and whatever becomes of a query, the client gets a reply or silence, and nobody an
exception. What a client is told about addresses is remembered by its name (``NameTable``).
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.dns.cache import AnswerCache, Entry
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.hosts import TTL, Hosts
from tunproxy.dns.local import LocalAnswers
from tunproxy.dns.lookups import PATIENCE, Lookups
from tunproxy.dns.message import (
    AAAA,
    NOERROR,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    STALE_ANSWER,
    A,
    Answer,
    Question,
    make_question,
    read_question,
)
from tunproxy.dns.names import NameTable
from tunproxy.dns.packing import pack_error, pack_reply
from tunproxy.dns.resolvers import ResolveError, Router

_log: Final = logging.getLogger(__name__)
_SECOND: Final = 1_000_000

_STALE_TTL: Final = 30  # seconds (RFC 8767 §4)

# our choices
MAX_OPEN: Final = 4096  # questions of everybody that wait for resolvers
MAX_OF_CLIENT: Final = 512  # and of one client: a browser's start, several times over


class DnsServer:
    """Answers for all clients of one device.

    wants_fake tells which names get fake addresses, instead of the pool's own filter. now is the packet
    path's clock. Everything happens on one loop.
    """

    def __init__(
        self,
        router: Router,
        *,
        hosts: Hosts | None = None,
        cache: AnswerCache | None = None,
        names: NameTable | None = None,
        fakes: FakePool | None = None,
        wants_fake: Callable[[str], bool] | None = None,
        now: Callable[[], Micros] = clock.now,
        max_open: int = MAX_OPEN,
        max_of_client: int = MAX_OF_CLIENT,
        patience: float = PATIENCE,
    ) -> None:
        self.names: Final = names if names is not None else NameTable(fakes)
        self.fakes: Final = fakes
        self._router: Final = router
        self._cache: Final = cache if cache is not None else AnswerCache()
        self._now: Final = now
        self._max_open: Final = max_open
        self._max_of_client: Final = max_of_client
        self._open: Final[Counter[bytes]] = Counter()  # by client
        self._open_count = 0
        self._counts: Final[Counter[str]] = Counter()
        hosts = hosts if hosts is not None else Hosts()
        self._local: Final = LocalAnswers(hosts, fakes, wants_fake, self._counts)
        self._lookups: Final = Lookups(router, self._local, self._cache, self._counts, now, patience)

    def gives_fake(self, host: str) -> bool:
        """Tell whether who asks for host is answered with fake addresses."""
        return self._local.gives_fake(host, self._now())

    def answer_now(self, query: bytes, client: bytes, is_tcp: bool = False) -> bytes | None:
        """Return the reply to query, b"" for none at all; None where it takes ``answer``. Never raises."""
        counts = self._counts
        try:
            question = read_question(query)
            if question is None:
                counts["malformed"] += 1
                return b""
            counts["queries"] += 1
            if question.fault != NOERROR:
                counts["malformed"] += 1
                return pack_error(question, question.fault)
            now = self._now()
            if self._local.has_changed(now):
                self._cache.clear()
            # What is answered here otherwise never gets into the cache.
            entry = self._cache.get(question.key, now)
            if entry is not None:
                counts["hits"] += 1
                answer, age = entry.answer, (now - entry.at) // _SECOND
                if answer.addresses:
                    self.names.add(client, entry.host, answer.addresses, answer.lifetime - age, now)
                return pack_reply(question, answer, age, is_tcp)
            local = self._local.answer(question, now)
            if local is None:
                return None
            self._remember(client, question, local, TTL, now)
            return pack_reply(question, local, 0, is_tcp)
        except Exception:
            return self._broken(query)

    async def answer(self, query: bytes, client: bytes, is_tcp: bool = False) -> bytes:
        """Return the reply to query from client, a packed address; b"" for none at all. Never raises."""
        reply = self.answer_now(query, client, is_tcp)
        return reply if reply is not None else await self.answer_later(query, client, is_tcp)

    async def answer_later(self, query: bytes, client: bytes, is_tcp: bool = False) -> bytes:
        """Return the reply to a query for which answer_now had none. Never raises."""
        if not self.admit(client):
            return self.turn_away(query)
        return await self.answer_admitted(query, client, is_tcp)

    def admit(self, client: bytes) -> bool:
        """Count a query that answer_admitted is called for next; False where there are too many."""
        if self._open_count >= self._max_open or self._open[client] >= self._max_of_client:
            self._counts["crowded"] += 1
            return False
        self._open_count += 1
        self._open[client] += 1
        return True

    def turn_away(self, query: bytes) -> bytes:
        """Return the reply to a query for which there is no room."""
        question = read_question(query)
        return pack_error(question, SERVFAIL, "too many questions are open") if question is not None else b""

    def refuse(self, query: bytes) -> bytes:
        """Return the reply to a query that we have sent ourselves."""
        self._counts["looped"] += 1
        question = read_question(query)
        return pack_error(question, REFUSED, "this is a query of our own") if question is not None else b""

    async def answer_admitted(self, query: bytes, client: bytes, is_tcp: bool = False) -> bytes:
        """Return the reply to a query that was admitted. Never raises."""
        try:
            question = read_question(query)
            if question is None or question.fault != NOERROR:
                return b""
            return await self._resolved(question, client, is_tcp)
        except Exception:
            return self._broken(query)
        finally:
            self._open_count -= 1
            self._open[client] -= 1
            if self._open[client] <= 0:
                del self._open[client]

    async def ask(self, query: bytes) -> bytes:
        """Return the reply to somebody who is no client: with real addresses, and nothing is remembered.

        b"" for what cannot be understood. Never raises.
        """
        try:
            question = read_question(query)
            if question is None or question.fault != NOERROR:
                return pack_error(question, question.fault) if question is not None else b""
            now = self._now()
            answer = self._local.real(question.host, question.type, now)
            entry = self._cache.get(question.key, now) if answer is None else None
            if entry is not None:
                return pack_reply(question, entry.answer, (now - entry.at) // _SECOND, True)
            if answer is None:
                answer, old = await self._lookups.find(question)
                answer = old.answer if old is not None else answer
            return pack_reply(question, answer, 0, True)
        except Exception:
            return self._broken(query)

    async def addresses(self, host: str, *kinds: int) -> list[bytes]:
        """Return host's real addresses, packed, of kinds (A and AAAA); none where it has none.

        For flows that are to go to a name, and for rules about addresses. Raises ResolveError where nobody
        answers, or host is no name.
        """
        found: list[bytes] = []
        whys: list[str] = []
        for kind in kinds or (A, AAAA):
            try:
                question = make_question(host, kind)
            except ValueError as error:
                raise ResolveError(str(error)) from error
            now = self._now()
            answer = self._local.real(question.host, kind, now)
            entry = self._cache.get(question.key, now) if answer is None else None
            if answer is None:
                answer, old = (
                    (entry.answer, None) if entry is not None else await self._lookups.find(question)
                )
                answer = old.answer if old is not None else answer
            if answer.rcode != NOERROR and answer.rcode != NXDOMAIN:
                whys.append(answer.why or f"the resolvers refuse to say what {host} is")
            found += answer.addresses
        if whys and not found:
            raise ResolveError("; ".join(dict.fromkeys(whys)))
        return found

    def statistics(self) -> dict[str, object]:
        """Return what was answered how, and what resolvers did."""
        names = (
            "queries", "malformed", "refused", "hosts", "fake", "hits", "misses", "coalesced", "stale",
            "failures", "crowded", "looped", "faults",
        )  # fmt: skip
        counts: dict[str, object] = {name: self._counts[name] for name in names}
        counts["open"] = self._open_count
        counts["cached"] = len(self._cache)
        counts["cached_octets"] = self._cache.octets
        counts["names"] = len(self.names)
        counts["fake_names"] = len(self.fakes) if self.fakes is not None else 0
        counts["resolvers"] = self._router.statistics()
        return counts

    def forget(self) -> None:
        """Forget all answers, because the network is another one now."""
        self._cache.clear()

    async def renew(self) -> None:
        """Ask over new connections from now on; what is in the cache stays."""
        await self._router.renew()

    @property
    def cache(self) -> AnswerCache:
        """What is known: for a server that takes this one's place."""
        return self._cache

    async def close(self) -> None:
        """Give up what is under way, and close all connections. Fake addresses keep their meaning."""
        await self._lookups.close()
        await self._router.close()

    def _remember(self, client: bytes, question: Question, answer: Answer, ttl: int, now: Micros) -> None:
        """Note which name client means by the addresses it is told."""
        if answer.addresses:
            self.names.add(client, question.meant, answer.addresses, ttl, now)

    async def _resolved(self, question: Question, client: bytes, is_tcp: bool) -> bytes:
        """Return the reply that resolvers make possible."""
        answer, old = await self._lookups.find(question)
        if old is not None:
            return self._stale(question, old, client, is_tcp)
        if answer.rcode == SERVFAIL:
            self._counts["failures"] += 1
        self._remember(client, question, answer, answer.lifetime, self._now())
        return pack_reply(question, answer, 0, is_tcp)

    def _stale(self, question: Question, entry: Entry, client: bytes, is_tcp: bool) -> bytes:
        """Return the reply with an answer that has expired."""
        self._counts["stale"] += 1
        old = entry.answer
        answer = Answer(
            old.rcode,
            old.records,
            old.counts,
            flags=old.flags,
            ttls=tuple((at, _STALE_TTL) for at, _ in old.ttls),
            addresses=old.addresses,
            why="the resolvers do not answer",
            code=STALE_ANSWER,
        )
        self._remember(client, question, answer, _STALE_TTL, self._now())
        return pack_reply(question, answer, 0, is_tcp, is_patched=True)

    def _broken(self, query: bytes) -> bytes:
        """Tell people of a mistake of ours, and the client that there is no answer."""
        self._counts["faults"] += 1
        _log.exception("cannot answer a query of %d octets", len(query))
        if len(query) < 12:
            return b""
        return query[:2] + bytes((0x80 | query[2] & 0x79, 0x80 | SERVFAIL)) + bytes(8)
