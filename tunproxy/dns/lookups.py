"""Questions that resolvers are asked: each once, however many wait for it, and what becomes of the answer."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from tunproxy.clock import Micros
from tunproxy.dns.answers import alias_answer
from tunproxy.dns.cache import AnswerCache, Entry
from tunproxy.dns.hosts import TTL
from tunproxy.dns.local import LocalAnswers
from tunproxy.dns.message import NOERROR, NXDOMAIN, SERVFAIL, Answer, Question, make_question
from tunproxy.dns.resolvers import ResolveError, Router

_log: Final = logging.getLogger(__name__)
_SECOND: Final = 1_000_000

PATIENCE: Final = 1.8  # seconds until a client gets an old answer (RFC 8767 §5)
_RECHECK: Final = 30  # seconds for which old answers serve before resolvers are asked again (RFC 8767 §5)

# our choices
MAX_ALIASES: Final = 8
FAILURE_KEPT: Final = 1  # seconds in which the same question is not asked again (RFC 9520 §3.2)


class Lookups:
    """Asks router, and keeps answers in cache; local knows the user's aliases. Counts in counts."""

    def __init__(
        self,
        router: Router,
        local: LocalAnswers,
        cache: AnswerCache,
        counts: Counter[str],
        now: Callable[[], Micros],
        patience: float = PATIENCE,
    ) -> None:
        self._router: Final = router
        self._local: Final = local
        self._cache: Final = cache
        self._counts: Final = counts
        self._now: Final = now
        self._patience: Final = patience
        self._under_way: Final[dict[bytes, asyncio.Task[Answer]]] = {}

    async def find(self, question: Question) -> tuple[Answer, Entry | None]:
        """Return the answer, shared by all who wait for it, and what to use instead of a failure."""
        key = question.key
        old = self._cache.stale(key, self._now())
        if old is not None and self._now() < old.retry_at:
            return Answer(SERVFAIL), old
        task = self._under_way.get(key)
        if task is None:
            self._counts["misses"] += 1
            task = asyncio.get_running_loop().create_task(
                self._look_up(question, key), name=f"resolve {question.host}"
            )
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._on_done(key, done))
        else:
            self._counts["coalesced"] += 1
        await asyncio.wait((task,), timeout=self._patience if old is not None else None)
        answer = task.result() if task.done() and not task.cancelled() else Answer(SERVFAIL)
        is_good = answer.rcode == NOERROR or answer.rcode == NXDOMAIN
        return answer, None if is_good else old

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_done(self, key: bytes, task: asyncio.Task[Answer]) -> None:
        del self._under_way[key]

    async def _look_up(self, question: Question, key: bytes) -> Answer:
        """Return what resolvers answer, SERVFAIL where they do not, and keep it. Never raises."""
        try:
            answer = await self._ask(question, 0)
        except ResolveError as error:
            answer = Answer(SERVFAIL, lifetime=FAILURE_KEPT, why=str(error))
        except Exception:
            self._counts["faults"] += 1
            _log.exception("cannot resolve %s", question.host)
            answer = Answer(SERVFAIL)
        now = self._now()
        if answer.rcode != NOERROR and answer.rcode != NXDOMAIN:
            old = self._cache.stale(key, now)
            if old is not None:
                old.retry_at = now + _RECHECK * _SECOND
                return answer
            if answer.lifetime <= 0:  # a resolver's own failure
                answer = Answer(answer.rcode, lifetime=FAILURE_KEPT, why=answer.why)
        self._cache.put(key, answer, now, question.meant)
        return answer

    async def _ask(self, question: Question, depth: int) -> Answer:
        """Return an answer to question, or to what its name is an alias of; raises ResolveError."""
        host = question.host
        alias = self._local.alias(host, self._now())
        if not alias:
            return await self._router.resolve(question, without_hints=self._local.wants_fake(host))
        if depth >= MAX_ALIASES:
            raise ResolveError(f"the hosts entries of {host} lead in a circle")
        target = make_question(alias, question.type)
        target.flags, target.dnssec_ok = question.flags, question.dnssec_ok
        answer = self._local.answer(target, self._now()) or await self._ask(target, depth + 1)
        return alias_answer(question, TTL, target, answer)
