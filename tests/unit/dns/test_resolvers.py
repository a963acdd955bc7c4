"""Who is asked, in which order, and what becomes of resolvers that fail."""

import asyncio
import logging
from typing import Any

import dns.message
import pytest

from tests.unit.dns.world import Scripted, address_of, never, query, question, respond, run
from tests.unit.wire.frames import packed
from tunproxy.dns.message import REFUSED, SERVFAIL, Question
from tunproxy.dns.resolvers import (
    LOG_EVERY,
    MAX_FAILURES,
    REST,
    Group,
    NameBootstrap,
    ResolveError,
    Resolver,
    Router,
)

ONE, TWO = "192.0.2.1", "192.0.2.2"


class Seconds:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def resolver(
    script: Any, label: str = "r", *, attempt: float = 0.05, **options: Any
) -> tuple[Resolver, Scripted]:
    transport = Scripted(script)
    return Resolver(label, transport, attempt=attempt, **options), transport


def failing(asked: bytes) -> bytes:
    raise ConnectionRefusedError(111, "Connection refused")


async def addresses(found: Any, asked: Question | None = None) -> list[bytes]:
    answer = await found.resolve(asked or question())
    return list(answer.addresses)


def test_answer_of_the_first_is_taken_and_nobody_else_is_told() -> None:
    async def test() -> None:
        first, told = resolver(address_of(ONE))
        second, untold = resolver(address_of(TWO))
        assert await addresses(Group([first, second])) == [packed(ONE)]
        assert (len(told.asked), untold.asked) == (1, [])

    run(test())


@pytest.mark.parametrize(
    "script",
    [failing, never, lambda asked: b"garbage", lambda asked: respond(asked, rcode=SERVFAIL)],
    ids=["refused", "silent", "garbage", "failure"],
)
def test_next_one_is_asked_where_one_does_not_answer(script: Any) -> None:
    async def test() -> None:
        first, _ = resolver(script)
        second, _ = resolver(address_of(TWO))
        assert await addresses(Group([first, second])) == [packed(TWO)]

    run(test())


def test_name_that_does_not_exist_is_an_answer() -> None:
    async def test() -> None:
        first, _ = resolver(lambda asked: respond(asked, rcode=3))
        second, untold = resolver(address_of(TWO))
        assert (await Group([first, second]).resolve(question())).rcode == 3
        assert untold.asked == []

    run(test())


def test_failure_of_all_is_passed_on() -> None:
    async def test() -> None:
        first, _ = resolver(lambda asked: respond(asked, rcode=REFUSED))
        second, told = resolver(failing)
        assert (await Group([first, second]).resolve(question())).rcode == REFUSED
        assert len(told.asked) == 1

    run(test())


def test_lost_datagram_is_sent_again() -> None:
    async def test() -> None:
        lost: list[bytes] = []

        def script(asked: bytes) -> Any:
            lost.append(asked)
            return never() if len(lost) == 1 else address_of(ONE)(asked)

        only, transport = resolver(script)
        assert await addresses(Group([only])) == [packed(ONE)]
        assert (
            transport.asked[0][:2] != transport.asked[1][:2]
            or transport.asked[0][2:] == transport.asked[1][2:]
        )

    run(test())


def test_ids_are_random() -> None:
    async def test() -> None:
        only, transport = resolver(address_of(ONE))
        for _ in range(50):
            await only.ask(question())
        assert len({asked[:2] for asked in transport.asked}) > 45

    run(test())


def test_resolver_that_keeps_failing_is_asked_last_for_a_while() -> None:
    async def test() -> None:
        now = Seconds()
        works: list[bool] = []
        first, told = resolver(lambda asked: address_of(ONE)(asked) if works else failing(asked), clock=now)
        second, _ = resolver(address_of(TWO), clock=now)
        group = Group([first, second])
        for _ in range(5):
            await group.resolve(question())
        assert len(told.asked) == MAX_FAILURES
        works.append(True)
        assert await addresses(group) == [packed(TWO)]
        now.at += REST
        assert await addresses(group) == [packed(ONE)]
        assert first.failures == 0

    run(test())


def test_all_are_asked_where_all_are_resting() -> None:
    async def test() -> None:
        only, told = resolver(failing)
        for _ in range(3):
            with pytest.raises(ResolveError, match="resolver r cannot be asked: connection refused"):
                await Group([only], rounds=1).resolve(question())
        assert len(told.asked) == 3

    run(test())


def test_time_for_all_together_is_limited() -> None:
    async def test() -> None:
        slow = Resolver("slow", Scripted(never), attempt=10)
        with pytest.raises(ResolveError, match=r"no answer within 0\.05 s from slow"):
            await Group([slow], total=0.05).resolve(question())

    run(test())


def test_race_takes_the_first_good_answer() -> None:
    async def test() -> None:
        async def later(asked: bytes) -> bytes:
            await asyncio.sleep(0.02)
            return address_of(TWO)(asked)

        first, _ = resolver(never, attempt=10)
        second, _ = resolver(lambda asked: respond(asked, rcode=SERVFAIL))
        third, _ = resolver(later, attempt=10)
        assert await addresses(Group([first, second, third], race=True)) == [packed(TWO)]

    run(test())


def test_race_that_nobody_wins() -> None:
    async def test() -> None:
        first, _ = resolver(failing, "a")
        second, _ = resolver(lambda asked: b"", "b")
        with pytest.raises(ResolveError, match=r"resolver (a cannot be asked|b answers garbage).*; resolver"):
            await Group([first, second], race=True).resolve(question())

    run(test())


def test_long_answer_is_fetched_over_the_other_way() -> None:
    async def test() -> None:
        def cut(asked: bytes) -> bytes:
            wire = bytearray(respond(asked))
            wire[2] |= 2
            return bytes(wire)

        whole = Scripted(address_of(ONE))
        first = Resolver("r", Scripted(cut), whole, attempt=0.05)
        assert await addresses(Group([first])) == [packed(ONE)]
        assert len(whole.asked) == 1
        with pytest.raises(ResolveError, match="cut off where none should be"):
            await Resolver("r", Scripted(cut), Scripted(cut), attempt=0.05).ask(question())
        await first.close()
        assert whole.is_closed

    run(test())


def test_resolver_from_before_edns_is_asked_without() -> None:
    async def test() -> None:
        def old(asked: bytes) -> bytes:
            return (
                respond(asked, rcode=1) if dns.message.from_wire(asked).edns >= 0 else address_of(ONE)(asked)
            )

        only, _ = resolver(old)
        assert await addresses(Group([only])) == [packed(ONE)]

    run(test())


def test_garbage_is_logged_clearly_and_not_for_each_query(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        now = Seconds()
        only, _ = resolver(lambda asked: b"xyz", "udp://192.0.2.53", clock=now)
        for _ in range(5):
            with pytest.raises(ResolveError):
                await only.ask(question())
        now.at += LOG_EVERY
        with pytest.raises(ResolveError):
            await only.ask(question())
        assert only.statistics() == {"asked": 6, "failed": 6, "garbage": 6, "timeouts": 0}

    with caplog.at_level(logging.WARNING):
        run(test())
    assert len(caplog.records) == 2
    assert all("udp://192.0.2.53 answers garbage: 3 octets" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("www.corp.example", "corp"),
        ("corp.example", "corp"),
        ("a.lab.corp.example", "lab"),
        ("notcorp.example", "default"),
        ("example", "default"),
    ],
)
def test_longest_domain_says_who_is_asked(host: str, asked: str) -> None:
    async def test() -> None:
        groups = {name: Group([resolver(address_of(ONE), name)[0]]) for name in ("default", "corp", "lab")}
        router = Router(
            groups["default"], {"corp.example": groups["corp"], "lab.corp.example": groups["lab"]}
        )
        assert router.group_for(host) is groups[asked]
        await router.resolve(question(host))
        assert [label for label, counts in router.statistics().items() if counts["asked"]] == [asked]
        await router.close()

    run(test())


def test_name_of_a_domain_is_told_to_nobody_else_even_if_its_resolver_fails() -> None:
    async def test() -> None:
        default, untold = resolver(address_of(ONE))
        corp, _ = resolver(failing, "corp")
        router = Router(Group([default]), {"corp.example": Group([corp])})
        with pytest.raises(ResolveError, match="resolver corp"):
            await router.resolve(question("www.corp.example"))
        assert untold.asked == []

    run(test())


def test_resolvers_own_name_is_looked_up_once() -> None:
    async def test() -> None:
        now = Seconds()
        only, transport = resolver(address_of(ONE, TWO))
        bootstrap = NameBootstrap(Group([only]), now)
        found = await bootstrap("dns.example")
        assert sorted(found) == [ONE, TWO]
        assert await bootstrap("dns.example") == found
        assert len(transport.asked) == 2, "both families"
        now.at += 301
        transport.answer = failing
        assert await bootstrap("dns.example") == found, "an old address is better than none"
        with pytest.raises(OSError, match=r"no address for other\.example: resolver r"):
            await bootstrap("other.example")
        transport.answer = lambda asked: respond(asked, rcode=3)
        with pytest.raises(OSError, match="there is no such name"):
            await bootstrap("other.example")

    run(test())


def test_query_of_the_client_and_ours_share_nothing_but_the_question() -> None:
    async def test() -> None:
        only, transport = resolver(address_of(ONE))
        asked = query(id=1)
        await only.ask(question())
        assert transport.asked[0] != asked
        assert dns.message.from_wire(transport.asked[0]).question == dns.message.from_wire(asked).question

    run(test())


def test_renewed_resolver_closes_its_connections_and_rests_no_more() -> None:
    async def test() -> None:
        tired, transport = resolver(failing)
        for _ in range(MAX_FAILURES):
            with pytest.raises(ResolveError):
                await tired.ask(question())
        assert tired.is_resting
        await Router(Group([tired])).renew()
        assert not tired.is_resting
        assert transport.is_closed

    run(test())
