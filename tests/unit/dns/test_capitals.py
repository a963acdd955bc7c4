"""Capitals by chance, and resolvers that do not keep them."""

import logging
import random

import dns.message
import pytest

from tests.unit.dns.world import Scripted, address_of, never, query, read, respond, run, texts
from tunproxy.dns import capitals
from tunproxy.dns.answers import GarbageError
from tunproxy.dns.capitals import PLAIN_FOR, CapitalsTransport, capitalized, has_same_question, restored

NAME = "www.a-long-name-with-9-letters.example"  # alike by chance once in 2 ** 30


def name_in(wire: bytes) -> str:
    return str(read(wire).question[0].name)


def forged(asked: bytes) -> bytes:
    """Answer as somebody who has guessed port and id, but not the capitals."""
    return respond(lowered(asked), f"{NAME} 60 A 203.0.113.66")


def lowered(asked: bytes) -> bytes:
    """Return what a resolver makes of a query that writes names its own way."""
    end = asked.index(b"\0", 12)
    return asked[:12] + asked[12:end].lower() + asked[end:]


def own_way(asked: bytes) -> bytes:
    return respond(lowered(asked), f"{NAME} 60 A 192.0.2.1")


def test_only_letters_change_and_each_may() -> None:
    asked = query("x1-_.ab\\200\\000\\064.example")
    seen = {capitalized(asked) for _ in range(200)}
    assert len(seen) > 150
    assert {each.lower() for each in seen} == {asked.lower()}
    for at in range(len(asked)):
        is_letter = 12 <= at < asked.index(b"\7example") + 8 and asked[at : at + 1].isalpha()
        assert len({each[at] for each in seen}) == (2 if is_letter else 1), at


def test_labels_as_long_as_letters_are_no_letters() -> None:
    asked = query("9" * 63 + "." + "8" * 63)
    assert capitalized(asked) == asked


def test_name_that_comes_back_as_it_went_is_believed_and_told_as_it_was_asked() -> None:
    async def test() -> None:
        resolver, tcp = Scripted(address_of("192.0.2.1")), Scripted(never)
        transport = CapitalsTransport("r", resolver, tcp)
        asked = query(NAME)
        reply = await transport.exchange(asked)
        assert name_in(resolver.asked[0]) != name_in(asked)
        assert name_in(reply) == name_in(asked)
        assert texts(reply) == [f"{NAME} 300 A 192.0.2.1"], "names that point there have its letters"
        assert tcp.asked == []

    run(test())


def test_answer_with_other_capitals_is_not_believed_where_tcp_says_otherwise() -> None:
    async def test() -> None:
        resolver, tcp = Scripted(forged), Scripted(address_of("192.0.2.1"))
        transport = CapitalsTransport("r", resolver, tcp)
        for number in (1, 2):
            assert texts(await transport.exchange(query(NAME))) == [f"{NAME} 300 A 192.0.2.1"]
            assert len(tcp.asked) == number, "the resolver is not taken for one that has its own way"

    run(test())


def test_resolver_that_has_its_own_way_over_tcp_too_is_asked_without_capitals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        now = 100.0
        resolver, tcp = Scripted(own_way), Scripted(own_way)
        transport = CapitalsTransport("r", resolver, tcp, lambda: now)
        for _ in range(3):
            assert texts(await transport.exchange(query(NAME))) == [f"{NAME} 60 A 192.0.2.1"]
        assert len(tcp.asked) == 1
        assert [name_in(each) == f"{NAME}." for each in resolver.asked] == [False, True, True]
        now += PLAIN_FOR
        await transport.exchange(query(NAME))
        assert (len(tcp.asked), len(resolver.asked)) == (2, 4)

    with caplog.at_level(logging.INFO):
        run(test())
    assert "resolver r does not keep the capitals of names, over TCP neither" in caplog.text


@pytest.mark.parametrize("failure", [ConnectionRefusedError(), EOFError(), GarbageError("x")])
def test_resolver_without_tcp_is_asked_once_more_without_capitals(failure: Exception) -> None:
    async def test() -> None:
        def fail(asked: bytes) -> bytes:
            raise failure

        resolver = Scripted(own_way)
        transport = CapitalsTransport("r", resolver, Scripted(fail))
        assert texts(await transport.exchange(query(NAME))) == [f"{NAME} 60 A 192.0.2.1"]
        assert name_in(resolver.asked[1]) == f"{NAME}."

    run(test())


def test_tcp_that_is_silent_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capitals, "TCP_PATIENCE", 0.01)

    async def test() -> None:
        transport = CapitalsTransport("r", Scripted(own_way), Scripted(never))
        assert texts(await transport.exchange(query(NAME))) == [f"{NAME} 60 A 192.0.2.1"]

    run(test())


def test_error_without_a_question_is_asked_about_over_tcp_and_says_nothing_of_capitals() -> None:
    async def test() -> None:
        def refuse(asked: bytes) -> bytes:
            return asked[:2] + b"\x80\x05" + bytes(8)

        resolver, tcp = Scripted(refuse), Scripted(refuse)
        transport = CapitalsTransport("r", resolver, tcp)
        for number in (1, 2):
            assert read(await transport.exchange(query(NAME))).rcode() == 5
            assert len(tcp.asked) == number

    run(test())


def test_garbage_is_for_who_asks_to_tell() -> None:
    async def test() -> None:
        def garble(asked: bytes) -> bytes:
            raise GarbageError("x")

        tcp = Scripted(never)
        with pytest.raises(GarbageError):
            await CapitalsTransport("r", Scripted(garble), tcp).exchange(query(NAME))
        assert tcp.asked == []

    run(test())


def test_close_closes_what_is_ours() -> None:
    async def test() -> None:
        resolver, tcp = Scripted(never), Scripted(never)
        await CapitalsTransport("r", resolver, tcp).close()
        assert (resolver.is_closed, tcp.is_closed) == (True, False)

    run(test())


def test_no_octets_of_a_response_are_read_that_are_not_there() -> None:
    chance = random.Random(1)
    asked = capitalized(query(NAME))
    whole = respond(asked, f"{NAME} 60 A 192.0.2.1")
    for _ in range(300):
        wire = whole[: chance.randrange(len(whole))]
        has_same_question(asked, wire)
        restored(asked, wire)
    assert dns.message.from_wire(restored(query(NAME), whole)).answer
