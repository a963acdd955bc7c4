"""Who is asked: resolvers with their health, in groups; which group for which name.

A group asks its resolvers in the order in which the user wrote them, and goes on to the next one where one
does not answer, or answers with a failure of its own. That, and not a race, is the default: names are told
to as few as possible, and it is always clear who has answered. Whoever has failed twice in a row is asked
last for a while. A race asks all of them at once, for the first answer.

Nobody outside the group is ever asked instead.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Final

from tunproxy.dns.answers import GarbageError, is_truncated, make_query, read_answer
from tunproxy.dns.message import AAAA, FORMERR, NOERROR, NOTIMP, NXDOMAIN, A, Answer, Question, make_question
from tunproxy.dns.transport import Transport
from tunproxy.errors import UpstreamError
from tunproxy.logs.about import about

_log: Final = logging.getLogger(__name__)

# our choices
ATTEMPT: Final = 2.0  # seconds for one resolver to answer: ten times what the far side of the world takes
TOTAL: Final = 8.0  # seconds in which anybody has to have answered; programs wait for five to ten
ROUNDS: Final = 2  # a datagram may be lost
MAX_FAILURES: Final = 2  # in a row
REST: Final = 30.0  # seconds for which a resolver that fails is asked last
LOG_EVERY: Final = 10.0  # seconds between two warnings about one resolver
_KEPT_ADDRESS: Final = 60.0  # seconds at least for which a resolver's own address is good


class ResolveError(UpstreamError):
    """Nobody who may be asked has answered."""


class Resolver:
    """One resolver, under the name that the user gave it. retry is for answers too long for transport."""

    def __init__(
        self,
        label: str,
        transport: Transport,
        retry: Transport | None = None,
        *,
        subnet: str = "",
        attempt: float = ATTEMPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label: Final = label
        self.failures = 0  # in a row
        self._transport: Final = transport
        self._retry: Final = retry
        self._subnet: Final = subnet
        self._attempt: Final = attempt
        self._clock: Final = clock
        self._resting_until = 0.0
        self._silent_until = 0.0
        self._counts: Final[Counter[str]] = Counter()

    @property
    def is_resting(self) -> bool:
        """Whether it has failed so often that others go first."""
        return self.failures >= MAX_FAILURES and self._clock() < self._resting_until

    def statistics(self) -> dict[str, int]:
        """Return how often it was asked, and how it failed."""
        return {"asked": 0, "failed": 0, "garbage": 0, "timeouts": 0, **self._counts}

    async def ask(self, question: Question, *, without_hints: bool = False) -> Answer:
        """Return what it answers, which may be a failure; raises ResolveError where it does not."""
        self._counts["asked"] += 1
        try:
            answer = await self._ask(question, without_hints)
        except GarbageError as error:
            self._counts["garbage"] += 1
            raise self._failed(question, f"answers garbage: {error}") from error
        except TimeoutError as error:
            self._counts["timeouts"] += 1
            raise self._failed(question, f"does not answer within {self._attempt:g} s") from error
        except (OSError, EOFError, UpstreamError) as error:  # TLS errors are OSErrors
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise self._failed(question, f"cannot be asked: {why.lower()}") from error
        self.failures = 0
        return answer

    async def renew(self) -> None:
        """Begin anew, as the way to it is another one: connections, which may be dead, are closed."""
        self.failures = 0
        await self.close()

    async def close(self) -> None:
        """Close what is open; a question after that opens another."""
        await self._transport.close()
        if self._retry is not None:
            await self._retry.close()

    async def _ask(self, question: Question, without_hints: bool) -> Answer:
        wire = await self._exchange(self._transport, question, True)
        if is_truncated(wire) and self._retry is not None:
            wire = await self._exchange(self._retry, question, True)
        answer = read_answer(question, wire, without_hints=without_hints)
        if answer.rcode == FORMERR or answer.rcode == NOTIMP:  # from before EDNS (RFC 6891 §7)
            wire = await self._exchange(self._transport, question, False)
            answer = read_answer(question, wire, without_hints=without_hints)
        if is_truncated(wire):
            raise GarbageError("its answer is cut off where none should be")
        return answer

    async def _exchange(self, transport: Transport, question: Question, edns: bool) -> bytes:
        query = make_query(
            question, secrets.randbelow(0x10000), edns=edns, pad=transport.is_private, subnet=self._subnet
        )
        async with asyncio.timeout(self._attempt):
            return await transport.exchange(query)

    def _failed(self, question: Question, why: str) -> ResolveError:
        """Count a failure, and warn of it, though not of each."""
        self.failures += 1
        self._counts["failed"] += 1
        now = self._clock()
        self._resting_until = now + REST
        text = f"resolver {self.label} {why}"
        if now >= self._silent_until:
            self._silent_until = now + LOG_EVERY
            fields = about(resolver=self.label)
            _log.warning("%s (asked for %s)", text, question.host or ".", extra=fields)
        return ResolveError(text)


class Group:
    """Resolvers of which any may answer. With race all are asked at once."""

    def __init__(
        self, resolvers: Sequence[Resolver], *, race: bool = False, total: float = TOTAL, rounds: int = ROUNDS
    ) -> None:
        self.resolvers: Final = tuple(resolvers)
        self._race: Final = race
        self._total: Final = total
        self._rounds: Final = rounds

    async def resolve(self, question: Question, *, without_hints: bool = False) -> Answer:
        """Return an answer, a resolver's own failure where there is none better; raises ResolveError."""
        try:
            async with asyncio.timeout(self._total):
                return await self._ask_again(question, without_hints)
        except TimeoutError as error:
            labels = ", ".join(resolver.label for resolver in self.resolvers)
            raise ResolveError(f"no answer within {self._total:g} s from {labels}") from error

    async def _ask_again(self, question: Question, without_hints: bool) -> Answer:
        run = self._all_at_once if self._race and len(self.resolvers) > 1 else self._one_by_one
        whys: dict[str, None] = {}
        for _ in range(self._rounds):
            answer = await run(question, without_hints, whys)
            if answer is not None:
                return answer
        raise ResolveError("; ".join(whys) or "no resolver is configured")

    async def _one_by_one(
        self, question: Question, without_hints: bool, whys: dict[str, None]
    ) -> Answer | None:
        rested_first = sorted(self.resolvers, key=lambda each: each.is_resting)
        asking = (resolver.ask(question, without_hints=without_hints) for resolver in rested_first)
        return await _best_of(asking, whys)

    async def _all_at_once(
        self, question: Question, without_hints: bool, whys: dict[str, None]
    ) -> Answer | None:
        tasks = {
            asyncio.ensure_future(resolver.ask(question, without_hints=without_hints))
            for resolver in self.resolvers
        }
        try:
            return await _best_of(asyncio.as_completed(tasks), whys)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _best_of(asking: Iterable[Awaitable[Answer]], whys: dict[str, None]) -> Answer | None:
    """Return the first answer that settles it, else a resolver's own failure; None, and whys, for neither."""
    failure: Answer | None = None
    for each in asking:
        try:
            answer = await each
        except ResolveError as error:
            whys[str(error)] = None
            continue
        if answer.rcode == NOERROR or answer.rcode == NXDOMAIN:
            return answer
        failure = failure or answer
    return failure


class Router:
    """Which group answers for which names: that of the longest domain that the name is in, or default's."""

    def __init__(self, default: Group, domains: Mapping[str, Group] | None = None) -> None:
        self._default: Final = default
        self._domains: Final = dict(domains or {})

    def group_for(self, host: str) -> Group:
        """Return who answers for host, which is in lower case and without a dot at its end."""
        if not self._domains:
            return self._default
        name = host
        while name:
            found = self._domains.get(name)
            if found is not None:
                return found
            name = name.partition(".")[2]
        return self._default

    async def resolve(self, question: Question, *, without_hints: bool = False) -> Answer:
        """Return an answer from those who may be asked; raises ResolveError."""
        return await self.group_for(question.host).resolve(question, without_hints=without_hints)

    def resolvers(self) -> list[Resolver]:
        """Return everybody who may be asked, each once."""
        groups = [self._default, *self._domains.values()]
        return list(dict.fromkeys(resolver for group in groups for resolver in group.resolvers))

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return each resolver's counts, by its name."""
        return {resolver.label: resolver.statistics() for resolver in self.resolvers()}

    async def renew(self) -> None:
        """Have every resolver begin anew."""
        for resolver in self.resolvers():
            await resolver.renew()

    async def close(self) -> None:
        """Close every connection."""
        for resolver in self.resolvers():
            await resolver.close()


class NameBootstrap:
    """Finds the addresses of resolvers that the user named by a host name, from resolvers with addresses."""

    def __init__(self, group: Group, clock: Callable[[], float] = time.monotonic) -> None:
        self._group: Final = group
        self._clock: Final = clock
        self._known: Final[dict[str, tuple[float, list[str]]]] = {}

    async def __call__(self, host: str) -> list[str]:
        """Return host's addresses, IPv4 first; raises OSError where there are none."""
        until, found = self._known.get(host, (0.0, []))
        if self._clock() < until:
            return found
        try:
            answers = [await self._group.resolve(make_question(host, kind)) for kind in (A, AAAA)]
        except ResolveError as error:
            if found:
                return found  # better an old address than none
            raise OSError(f"no address for {host}: {error}") from error
        packed = [address for answer in answers for address in answer.addresses]
        if not packed:
            raise OSError(f"no address for {host}: there is no such name")
        lifetime = max(_KEPT_ADDRESS, *(answer.lifetime for answer in answers if answer.addresses))
        found = [inet_ntop(AF_INET if len(each) == 4 else AF_INET6, each) for each in packed]
        self._known[host] = self._clock() + lifetime, found
        return found
