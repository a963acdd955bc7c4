"""Whose flows are, found out while somebody looks on."""

import asyncio
from typing import Any

import pytest

from tests.unit.control.helm.world import info_to
from tunproxy import clock
from tunproxy.control.helm import owner_search
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.flow.life import FlowLife
from tunproxy.flow.verdict import DIAL, Verdict
from tunproxy.host.process import Process


class Source:
    def __init__(self) -> None:
        self.asked: list[int] = []
        self.running = self.most = 0

    def look(self, *_: Any) -> None:
        raise AssertionError("nobody may wait for it")

    async def search(
        self, network: str, source: bytes, source_port: int, target: bytes, port: int
    ) -> Process:
        self.asked.append(port)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        return Process(uid=1000, name=f"p{port}", path="/bin/p")


def life(number: int) -> FlowLife:
    return FlowLife(number, info_to("", number), Verdict(DIAL, "direct"), 0)


def test_owners_are_found_once_and_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_search, "SPARE", 0)

    async def talk() -> None:
        source = Source()
        owners = OwnerSearch(source)
        lives = [life(number) for number in range(1, 101)]
        lives[2].ended_at = 5
        began = clock.now()
        owners.search(lives, 100)
        assert owners.owner(lives[0]) is None
        assert owners.is_searching(lives[-1])
        while len(source.asked) < owner_search.MOST or source.running:
            await asyncio.sleep(0.005)
        assert min(source.asked) == 101 - owner_search.MOST  # the newest first
        assert source.most == owner_search.AT_ONCE
        for _ in range(2):  # whoever looks on is told, not only the first one
            assert owners.found_since(began) == set(source.asked)
        assert owners.found_since(clock.now() + 1) == set()
        found = owners.owner(lives[-1])
        assert found is not None
        assert (found.name, found.uid) == ("p100", 1000)
        assert not owners.is_searching(lives[-1])
        owners.search(lives[-1:], 100)
        while len(source.asked) < 99 or source.running:
            await asyncio.sleep(0.005)
        assert sorted({*source.asked, 3}) == list(range(1, 101))  # one was over
        owners.search([], 1)
        assert [owners.owner(each) is not None for each in (lives[-1], lives[0])] == [False, True]
        assert len(owners.found_since(began)) == 1
        owners.close()

    asyncio.run(talk())


def test_owner_of_one_flow_is_searched_for_once_it_is_known_it_is_not() -> None:
    async def talk() -> None:
        source = Source()
        owners = OwnerSearch(source)
        open_one, over = life(1), life(2)
        over.ended_at = 5
        found = await owners.find(open_one)
        assert found is not None
        assert (found.name, await owners.find(over), source.asked) == ("p1", None, [1])
        owners.search([open_one], 1)
        while owners.owner(open_one) is None:
            await asyncio.sleep(0.001)
        open_one.ended_at = 6
        assert await owners.find(open_one) == found
        assert source.asked == [1, 1]
        owners.close()

    asyncio.run(talk())


def test_nobody_knows_without_a_source() -> None:
    owners = OwnerSearch(None)
    assert asyncio.run(owners.find(life(1))) is None
    owners.search([life(1)], 1)
    assert owners.owner(life(1)) is None
