"""What a worker keeps for whoever records, and tells."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.helm.test_owner_search import Source
from tests.unit.control.history.world import Live, live
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.history import outbox as module
from tunproxy.control.history.outbox import Outbox
from tunproxy.flow.life import ENDED, FlowLife


class Made:
    def __init__(self, world: Live, owners: OwnerSearch) -> None:
        self.world = world
        self.alive: list[FlowLife] = []
        loop = asyncio.get_running_loop()
        self.outbox = Outbox(loop, world.recent, (lambda: self.alive,), owners)
        self.last: dict[str, Any] = {"run": "", "sequence": 0}

    def end(self, count: int = 1) -> None:
        for _ in range(count):
            self.world.recent.closed(self.world.life())

    async def take(self, *, got: bool = True, **about: object) -> list[int]:
        """Ask, saying that the last answer has arrived; return the numbers of the flows."""
        said = {"run": self.last["run"], "got": self.last["sequence"] if got else -1, **about}
        self.last = await self.outbox.take(said)
        return [each["number"] for each in self.last["entries"]]


def run(folder: Path, talk: Callable[[Made], Awaitable[None]], source: Source | None = None) -> None:
    async def both() -> None:
        with live(folder, "DST-PORT,443,work") as world:
            made = Made(world, OwnerSearch(source))
            await talk(made)
            made.outbox.close()

    asyncio.run(both())


def test_flows_are_kept_from_the_first_question_on_and_told_once(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        made.end(3)
        assert made.world.recent.outlet is None
        assert await made.take() == []
        made.end(2)
        assert await made.take() == [4, 5]
        assert made.last["entries"][0]["way"] == "work"
        assert await made.take() == []
        assert (made.last["missed"], made.last["is_more"]) == (0, False)

    run(tmp_path, talk)


def test_flows_that_ended_before_the_first_question_are_told_where_that_is_wanted(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        made.end(3)
        assert await made.take(whole=True) == [1, 2, 3]
        made.end()
        assert await made.take(whole=True) == [4]
        await made.take(stop=True)
        made.end()
        assert await made.take(whole=True) == []

    run(tmp_path, talk)


def test_answer_that_got_lost_is_told_again(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        await made.take()
        made.end(2)
        assert await made.take() == [1, 2]
        made.end()
        before = made.last["sequence"]
        assert await made.take(got=False) == [1, 2]
        assert made.last["sequence"] == before
        assert await made.take(run="another") == [1, 2]
        assert await made.take() == [3]

    run(tmp_path, talk)


def test_what_is_too_much_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 5)
    monkeypatch.setattr(module, "MOST_TOLD", 3)
    monkeypatch.setattr(module, "MOST_REASONS", 1)

    async def talk(made: Made) -> None:
        await made.take()
        made.end(9)
        assert await made.take() == [1, 2, 3]
        assert (made.last["missed"], made.last["is_more"]) == (4, True)
        assert [each["why"] is None for each in made.last["entries"]] == [False, True, True]
        assert await made.take() == [4, 5]
        assert (made.last["missed"], made.last["is_more"]) == (0, False)

    run(tmp_path, talk)


def test_last_answer_has_open_flows_as_over(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        await made.take()
        made.end()
        life = made.world.life()
        life.ended_at, life.reason = -1, ""
        made.alive.append(life)
        assert await made.take(last=True) == [1, 2]
        assert [each["reason"] for each in made.last["entries"]] == ["closed", ENDED]

    run(tmp_path, talk)


def test_nobody_who_records_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(made: Made) -> None:
        await made.take()
        assert made.world.recent.outlet is made.outbox
        made.end()
        assert await made.take(stop=True) == []
        assert made.world.recent.outlet is None
        monkeypatch.setattr(module, "FORGET_SECONDS", 0.0)
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
        await made.take()
        for _ in range(1000):  # turns of the loop, until its timer comes
            if made.world.recent.outlet is None:
                break
            await asyncio.sleep(0.001)
        assert made.world.recent.outlet is None

    run(tmp_path, talk)


def test_owners_of_flows_that_last_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    source = Source()

    async def talk(made: Made) -> None:
        await made.take()
        life = made.world.life()
        life.ended_at = -1
        made.world.recent.opened(life)
        for _ in range(1000):
            if source.asked and not source.running:
                break
            await asyncio.sleep(0.001)
        life.ended_at = life.began_at + 1
        made.world.recent.closed(life)
        await made.take()
        found = made.last["entries"][0]
        assert (found["process"]["name"], found["facts"]["process_name"]) == ("p443", "p443")
        assert found["process"]["uid"] == found["facts"]["uid"] == 1000

    run(tmp_path, talk, source)
