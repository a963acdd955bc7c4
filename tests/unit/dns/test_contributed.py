"""Resolvers of plugins in the place of those with an address."""

import asyncio
from collections.abc import Sequence

from tests.unit.dns.world import CLIENT, Clock, Sockets, Turns, query, run, texts
from tunproxy.dns.build import Dns, DnsSettings, build_dns
from tunproxy.dns.contributed import TTL
from tunproxy.dns.message import NXDOMAIN, SERVFAIL

KNOWN = {"www.example": ["192.0.2.1", "2001:db8::1", "192.0.2.2"], "four.example": ["192.0.2.3"]}


async def look_up(name: str) -> Sequence[str]:
    if name == "broken.example":
        raise OSError("out of order")
    return KNOWN.get(name, [])


def built(**settings: object) -> Dns:
    sockets = Sockets()
    loop = asyncio.get_running_loop()
    made = DnsSettings(hosts_file=False, **settings)  # type: ignore[arg-type]  # as a test says
    found = build_dns(made, loop, Turns(), sockets, sockets.dialer(), lookups={"racks": look_up}, now=Clock())
    assert found is not None
    return found


def test_resolver_of_a_plugin_answers_under_its_name() -> None:
    async def test() -> None:
        found = built(servers=("racks",))
        assert sorted(texts(await found.server.answer(query(), CLIENT))) == [
            f"www.example {TTL} A 192.0.2.1",
            f"www.example {TTL} A 192.0.2.2",
        ]
        six = await found.server.answer(query(kind="AAAA"), CLIENT)
        assert texts(six) == [f"www.example {TTL} AAAA 2001:db8::1"]
        none = await found.server.answer(query("four.example", "AAAA"), CLIENT)
        assert texts(none) == []
        await found.close()

    run(test())


def test_name_that_the_plugin_does_not_know_does_not_exist() -> None:
    async def test() -> None:
        found = built(servers=("racks",))
        wire = await found.server.answer(query("no.example"), CLIENT)
        assert wire is not None
        assert wire[3] & 15 == NXDOMAIN
        await found.close()

    run(test())


def test_plugin_that_cannot_say_is_a_failure_and_not_a_missing_name() -> None:
    async def test() -> None:
        found = built(servers=("racks",))
        wire = await found.server.answer(query("broken.example"), CLIENT)
        assert wire is not None
        assert wire[3] & 15 == SERVFAIL
        await found.close()

    run(test())


def test_plugin_may_answer_for_one_domain_only() -> None:
    async def test() -> None:
        found = built(servers=("192.0.2.53",), domains={"example": ("racks",)})
        assert texts(await found.server.answer(query("four.example"), CLIENT)) == [
            f"four.example {TTL} A 192.0.2.3"
        ]
        await found.close()

    run(test())
