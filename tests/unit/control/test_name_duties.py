"""What up does about names: the parts in their order, and what status says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.control.name_workers import name_worker
from tunproxy.control import dns_takeover, host_resolvers, leaks, name_duties
from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.name_duties import NameDuties
from tunproxy.errors import SystemChangeError
from tunproxy.host.scope import Scope


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests from this machine's bus and firewall."""

    def no_table(*_: object, **__: object) -> None:
        raise SystemChangeError("not in a test")

    async def nobody(*_: object, **__: object) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(leaks, "LeakTable", no_table)
    monkeypatch.setattr(dns_takeover, "has_bus", lambda: False)
    monkeypatch.setattr(host_resolvers, "find_resolvers", nobody)


def made(config: DnsConfig | None = None, **options: Any) -> NameDuties:
    given = {"routes": ["0.0.0.0/0", "::/0"], "uid": 60_777, "resolvers": ("192.0.2.53",), **options}
    return NameDuties(config or DnsConfig(), "tun0", given.pop("workers", []), **given)


def test_fakes_are_drained_before_resolved_lets_go_and_leaks_are_counted_to_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    def noting(what: str) -> Any:
        @asynccontextmanager
        async def noted(self: object) -> AsyncIterator[None]:
            happened.append(what)
            yield
            happened.append(f"no more {what}")

        return noted

    monkeypatch.setattr(name_duties.LeakCounter, "counting", noting("counting"))
    monkeypatch.setattr(name_duties.DnsTakeover, "holding", noting("asking"))
    monkeypatch.setattr(name_duties.Draining, "draining", noting("fakes"))

    async def check() -> None:
        counting, asking, fakes = made().duties()
        async with counting, asking, fakes:
            pass

    asyncio.run(check())
    assert happened == ["counting", "asking", "fakes", "no more fakes", "no more asking", "no more counting"]


def test_status_says_what_cannot_be_done() -> None:
    async def check() -> None:
        with name_worker() as worker:
            duties = made(workers=[worker.questions])
            counting, asking, draining = duties.duties()
            async with counting, asking, draining:
                duties.look_again()
                async with asyncio.timeout(10):
                    while duties.document()["resolved"]["state"] != "no-bus":  # type: ignore[index]
                        await asyncio.sleep(0.01)
                document = duties.document()
        assert document["resolved"]["resolvers"] == ["192.0.2.53"]  # type: ignore[index]
        assert document["dns_leaks"]["why"] == "not in a test"  # type: ignore[index]
        assert duties.problems() == []

    asyncio.run(check())


def test_where_only_some_networks_are_ours_names_are_left_alone() -> None:
    async def check() -> None:
        duties = made(routes=["198.51.100.0/24"])
        async with duties.duties()[0]:
            assert duties.document()["dns_leaks"]["why"] == "only some networks are routed here"  # type: ignore[index]

    asyncio.run(check())


PART = "only some networks are routed here"
SOME = Scope(users=((1000, 1000),))


@pytest.mark.parametrize(
    ("routes", "config", "scope", "expected"),
    [
        (["0.0.0.0/0"], DnsConfig(), Scope(), ""),
        (["0.0.0.0/0"], DnsConfig(resolved=False), Scope(), "resolved = false in [dns]"),
        (["10.0.0.0/8"], DnsConfig(), Scope(), PART),
        ([], DnsConfig(), Scope(), PART),
        (["0.0.0.0/0"], DnsConfig(), SOME, ""),
        (["0.0.0.0/0"], DnsConfig(mode="fake-ip"), Scope(), ""),
        *(
            (["0.0.0.0/0"], DnsConfig(mode="fake-ip"), scope, "some programs are not captured, and would get")
            for scope in (SOME, Scope(spares_cgroups=True), Scope(only_cgroups=True))
        ),
    ],
)
def test_resolved_is_left_alone_where_somebody_would_suffer(
    routes: list[str], config: DnsConfig, scope: Scope, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    class Takeover(name_duties.DnsTakeover):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            given.append(options["why_not"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(name_duties, "DnsTakeover", Takeover)
    made(config, routes=routes, scope=scope)
    assert given[0].startswith(expected)
    assert bool(given[0]) is bool(expected)


def test_leaks_are_no_problem_where_nobody_answers_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_duties.LeakCounter, "problems", lambda self: ["leak"])
    duties = made()
    assert duties.problems() == []
    duties._takeover.is_answering = True
    assert duties.problems() == ["leak"]
    monkeypatch.setattr(name_duties.DnsTakeover, "claims", lambda self: "eth0 has some of its own")
    assert duties.problems() == ["leak (eth0 has some of its own)"]
