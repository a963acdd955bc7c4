"""Questions that resolvers are asked: once for all who wait, and not again at once when they fail."""

import asyncio
from collections import Counter

import pytest

from tests.unit.dns.world import Clock, Scripted, address_of, never, question, respond, run
from tests.unit.wire.frames import packed
from tunproxy.dns.cache import AnswerCache
from tunproxy.dns.hosts import Hosts
from tunproxy.dns.local import LocalAnswers
from tunproxy.dns.lookups import Lookups
from tunproxy.dns.message import NOERROR, SERVFAIL
from tunproxy.dns.resolvers import Group, Resolver, Router

ONE = "192.0.2.1"


class Looking:
    """Lookups whose resolver is a script, on a clock of the test's."""

    def __init__(
        self, transport: Scripted, *, stale_for: int = 0, hosts: dict[str, str] | None = None
    ) -> None:
        self.clock = Clock()
        self.counts: Counter[str] = Counter()
        self.cache = AnswerCache(stale_for=stale_for)
        router = Router(Group([Resolver("resolver", transport, attempt=0.05)]))
        local = LocalAnswers(Hosts(hosts or {}), None, None, self.counts)
        self.lookups = Lookups(router, local, self.cache, self.counts, self.clock, patience=0.05)


def test_all_who_wait_share_one_answer() -> None:
    async def test() -> None:
        transport = Scripted(address_of(ONE))
        found = Looking(transport)
        answers = await asyncio.gather(*(found.lookups.find(question()) for _ in range(5)))
        assert {answer.addresses for answer, _ in answers} == {(packed(ONE),)}
        assert len(transport.asked) == 1
        assert found.counts == {"misses": 1, "coalesced": 4}
        assert found.cache.get(question().key, found.clock()) is not None

    run(test())


def test_failure_is_an_answer_that_says_why() -> None:
    async def test() -> None:
        found = Looking(Scripted(never))
        answer, old = await found.lookups.find(question())
        assert (answer.rcode, old) == (SERVFAIL, None)
        assert answer.why == "resolver resolver does not answer within 0.05 s"

    run(test())


def test_mistake_of_ours_is_a_failure_too(caplog: pytest.LogCaptureFixture) -> None:
    def broken(asked: bytes) -> bytes:
        raise ZeroDivisionError

    async def test() -> None:
        found = Looking(Scripted(broken))
        assert (await found.lookups.find(question()))[0].rcode == SERVFAIL
        assert found.counts["faults"] == 1
        assert "cannot resolve www.example" in caplog.text

    run(test())


def test_old_answer_is_offered_while_nobody_answers() -> None:
    async def test() -> None:
        transport = Scripted(address_of(ONE))
        found = Looking(transport, stale_for=600)
        await found.lookups.find(question())
        found.clock.advance(301)
        transport.answer = never
        answer, old = await found.lookups.find(question())
        assert answer.rcode == SERVFAIL
        assert old is not None
        assert old.answer.addresses == (packed(ONE),)
        await found.lookups.close()

    run(test())


def test_name_that_does_not_exist_any_more_is_no_failure() -> None:
    async def test() -> None:
        transport = Scripted(address_of(ONE))
        found = Looking(transport, stale_for=600)
        await found.lookups.find(question())
        found.clock.advance(301)
        transport.answer = lambda asked: respond(asked, rcode=3)
        answer, old = await found.lookups.find(question())
        assert (answer.rcode, old) == (3, None)

    run(test())


def test_alias_is_followed_and_answered_with() -> None:
    async def test() -> None:
        found = Looking(Scripted(address_of(ONE)), hosts={"www.example": "web.example"})
        answer, _ = await found.lookups.find(question())
        assert (answer.rcode, answer.counts) == (NOERROR, (2, 0, 0))
        assert answer.addresses == (packed(ONE),)

    run(test())


def test_aliases_in_a_circle_are_a_failure() -> None:
    async def test() -> None:
        found = Looking(Scripted(address_of(ONE)), hosts={"a.example": "b.example", "b.example": "a.example"})
        answer, _ = await found.lookups.find(question("a.example"))
        assert answer.rcode == SERVFAIL
        assert "lead in a circle" in answer.why

    run(test())


def test_close_gives_up_and_tells_who_waits() -> None:
    async def test() -> None:
        found = Looking(Scripted(never))
        waiting = asyncio.ensure_future(found.lookups.find(question()))
        await asyncio.sleep(0)
        await found.lookups.close()
        assert (await waiting)[0].rcode == SERVFAIL

    run(test())
