"""Flows whose verdict waits for something."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from tests.unit.decide.test_trace import Program, Programs
from tests.unit.decide.world import Names, World, flow, named, trace
from tunproxy.decide.settling import Settler
from tunproxy.errors import UpstreamError
from tunproxy.flow.verdict import DIAL, OPEN, REJECT, Verdict

FAKE = "198.18.0.7"


def settle(world: World, *, addresses: Sequence[str] | Exception = (), info=None) -> tuple[Verdict, Settler]:
    """Decide a flow to a fake address, and settle it with a resolver that answers addresses."""
    info = info or flow(FAKE)
    asked: list[str] = []

    async def resolve(name: str) -> Sequence[str]:
        asked.append(name)
        if isinstance(addresses, Exception):
            raise addresses
        return addresses

    assert world.decider.decide(info).kind == OPEN
    settler = Settler(resolve)
    verdict = asyncio.run(settler.settle(info))
    assert len(asked) <= 1
    return verdict, settler


def faked(*lines: str, **more: object) -> World:
    names = Names({FAKE: named("example.org", "fake-ip")})
    return World(*lines, names=names, wants_names=True, **more)  # type: ignore[arg-type]


def test_direct_flow_gets_the_address_of_its_name() -> None:
    info = flow(FAKE)
    verdict, settler = settle(faked(), addresses=["192.0.2.9", "2001:db8::9"], info=info)
    assert (verdict.kind, verdict.upstream, verdict.address) == (DIAL, "direct", "192.0.2.9")
    assert settler.addresses_of(info) == ["192.0.2.9", "2001:db8::9"]
    assert not settler.is_unresolved(info)


def test_rule_gets_the_address_that_it_needs() -> None:
    world = faked("IP-CIDR,192.0.2.0/24,work", "MATCH,REJECT")
    assert settle(world, addresses=["192.0.2.9"])[0].upstream == "work"
    assert settle(world, addresses=["198.51.100.1"])[0].upstream == "reject"


@pytest.mark.parametrize("failure", [OSError("no network"), UpstreamError("nobody answers"), ()])
def test_name_that_cannot_be_resolved(
    failure: Exception | tuple[()], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert (
            settle(faked("IP-CIDR,192.0.2.0/24,work", "MATCH,REJECT"), addresses=failure)[0].upstream
            == "reject"
        )
        info = flow(FAKE)
        verdict, settler = settle(faked(), addresses=failure, info=info)
    assert verdict.kind == REJECT
    assert settler.is_unresolved(info)
    assert ("cannot resolve example.org" in caplog.text) == isinstance(failure, Exception)


def test_without_a_resolver_nothing_is_resolved() -> None:
    info = flow(FAKE)
    faked().decider.decide(info)
    assert asyncio.run(Settler(None).settle(info)).kind == REJECT


def test_process_is_searched_for() -> None:
    world = World("PROCESS-NAME,curl,work", processes=Programs(Program(), is_quick=False))
    info = flow()
    assert settle(world, info=info)[0].upstream == "work"
    assert trace(info).facts.uid == 1000


def test_process_and_address_one_after_the_other() -> None:
    programs = Programs(Program(), is_quick=False)
    world = faked("PROCESS-NAME,wget,REJECT", "IP-CIDR,192.0.2.0/24,work", processes=programs)
    assert settle(world, addresses=["192.0.2.9"])[0].upstream == "work"


def test_flow_that_nobody_has_begun_to_decide() -> None:
    with pytest.raises(TypeError, match="nobody has begun"):
        asyncio.run(Settler(None).settle(flow()))
    assert list(Settler(None).addresses_of(flow())) == []
    assert not Settler(None).is_unresolved(flow())
