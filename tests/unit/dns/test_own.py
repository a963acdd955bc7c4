"""Queries of ours that come back to us."""

import asyncio
import logging

import pytest

from tests.unit.dns.test_datagrams import hand
from tests.unit.dns.world import (
    Scripted,
    Sockets,
    Turns,
    address_of,
    peer,
    query,
    read,
    run,
    server_of,
    texts,
)
from tests.unit.waiting import until
from tunproxy.dns.capitals import CapitalsTransport
from tunproxy.dns.datagrams import DnsDatagrams
from tunproxy.dns.message import REFUSED
from tunproxy.dns.over_udp import UdpTransport
from tunproxy.dns.own import OwnQueries
from tunproxy.dns.transport import Endpoint


def test_query_is_ours_while_it_is_under_way() -> None:
    own = OwnQueries()
    ours, other = query(id=7), query(id=8)
    assert not own.is_ours(ours)
    with own.sent(ours):
        assert own.is_ours(ours)
        assert not own.is_ours(other)
    assert not own.is_ours(ours)
    assert own.returned == 1


def test_query_that_somebody_passes_on_is_known_by_its_capitals() -> None:
    own = OwnQueries()
    ours = query(name="wWw.ExAmple", id=7)
    with own.sent(query(name="aS.AskeD", id=9)), own.sent(ours, has_chance=True):
        for asked, expected in (
            (query(name="wWw.ExAmple", id=8), True),
            (query(name="wWw.ExAmple", kind="AAAA", id=8), False),
            (query(name="www.example", id=8), False),
            (query(name="Www.example", id=8), False),
            (query(name="aS.AskeD", id=8), False),  # a client's own capitals, which it may ask with again
        ):
            assert own.is_ours(asked) is expected, asked
        with own.sent(ours, has_chance=True):
            pass
        assert own.is_ours(ours), "it was sent twice"
    assert not own.is_ours(ours)


@pytest.mark.parametrize("octets", [b"", bytes(12), bytes(11), b"x" * 12, b"X" * 40, bytes(12) + b"\3WWW"])
def test_what_is_no_query_is_nobodys(octets: bytes) -> None:
    own = OwnQueries()
    with own.sent(query(name="wWw.ExAmple"), has_chance=True):
        assert not own.is_ours(octets)
    with own.sent(octets, has_chance=True):
        assert own.is_ours(octets)


def test_who_asks_himself_is_refused_at_once_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """What the transport sends comes in again, as if there were no policy rules."""
    own = OwnQueries()

    async def test() -> None:
        service = DnsDatagrams(
            asyncio.get_running_loop(), Turns(), server_of(Scripted(address_of("192.0.2.1"))), own=own
        )

        def around(asked: bytes) -> list[bytes]:
            return hand(service, asked).sent

        async with peer(around) as resolver:
            transport = UdpTransport(Sockets(), Endpoint("127.0.0.1", resolver.port), own)
            for _ in range(3):
                assert read(await transport.exchange(query())).rcode() == REFUSED
        assert service._server.statistics()["looped"] == own.returned == 3

    with caplog.at_level(logging.WARNING):
        run(test())
    assert [each.message.startswith("a query of ours came back to us") for each in caplog.records] == [True]


def test_resolver_on_this_host_that_passes_on_what_it_is_asked_is_found_out() -> None:
    """It asks with an id of its own, and so with other octets."""
    own = OwnQueries()

    async def test() -> None:
        service = DnsDatagrams(
            asyncio.get_running_loop(), Turns(), server_of(Scripted(address_of("192.0.2.1"))), own=own
        )

        def pass_on(asked: bytes) -> list[bytes]:
            [reply] = hand(service, bytes((asked[0] ^ 1, *asked[1:]))).sent
            return [asked[:2] + reply[2:]]

        async with peer(pass_on) as resolver:
            plain = UdpTransport(Sockets(), Endpoint("127.0.0.1", resolver.port), own)
            name = "long-enough-that-some-letter-is-a-capital.by-chance.example"
            transport = CapitalsTransport("it", plain, plain, own=own)
            assert read(await transport.exchange(query(name))).rcode() == REFUSED
        assert own.returned == 1

    run(test())


def test_queries_of_others_are_answered_meanwhile() -> None:
    async def test() -> None:
        own = OwnQueries()
        service = DnsDatagrams(
            asyncio.get_running_loop(), Turns(), server_of(Scripted(address_of("192.0.2.1"))), own=own
        )
        with own.sent(query(id=7)):
            reply = hand(service, query(id=8))
            await until(lambda: reply.sent)
            assert texts(reply.sent[0]) == ["www.example 300 A 192.0.2.1"]

    run(test())
