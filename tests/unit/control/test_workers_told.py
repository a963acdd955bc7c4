"""Workers are told once, and again where it is worth it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.unit.waiting import until
from tunproxy.control import workers_told
from tunproxy.control.letters import answering
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.control.workers_told import WorkersTold


class Worker:
    """Has been told this, and resets as many connections each time."""

    def __init__(self, resets: object = 0) -> None:
        self.told: list[object] = []
        self.resets = resets
        self.ours, self.theirs = socket_pair()
        self.questions = Questions(self.ours)

    def listen(self) -> "Worker":
        answer_on(asyncio.get_running_loop(), self.theirs, {}, {"uplink": answering(self._take)})
        return self

    def _take(self, about: object) -> dict[str, object]:
        self.told.append(about)
        return {"reset": self.resets}


@contextlib.asynccontextmanager
async def telling(workers: list[Questions]) -> AsyncIterator[WorkersTold]:
    made = WorkersTold(workers)
    task = asyncio.create_task(made.keep_telling())
    yield made
    task.cancel()
    await asyncio.wait([task])


def test_each_is_told_once_and_again_when_it_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(workers_told, "tell", lines.append)

    async def check() -> None:
        first, second = Worker(resets=2).listen(), Worker(resets=1).listen()
        async with telling([first.questions, second.questions]) as news:
            for about in ({"x": 1}, {"x": 1}, {"x": 2}):
                news.say(about)
                await until(lambda now=about: first.told[-1:] == second.told[-1:] == [now])  # type: ignore[misc]
            await until(lambda: len(lines) == 2)
        assert first.told == second.told == [{"x": 1}, {"x": 2}]

    asyncio.run(check())
    assert lines == ["3 connections were reset: their addresses are this host's no more"] * 2


def test_who_takes_a_place_is_told_alone() -> None:
    async def check() -> None:
        first, second, third = (Worker().listen() for _ in range(3))
        workers = [first.questions, second.questions]
        async with telling(workers) as news:
            news.say({"x": 1})
            await until(lambda: second.told)
            workers[1] = third.questions
            news.say({"x": 1})
            await until(lambda: third.told)
            assert (first.told, second.told) == ([{"x": 1}], [{"x": 1}])

    asyncio.run(check())


def test_who_does_not_answer_is_told_again_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_told, "RETRY", 0.02)

    async def check() -> None:
        deaf, odd = Worker(), Worker(resets="nonsense").listen()
        deaf.theirs.close()
        workers = [deaf.questions, odd.questions]
        async with telling(workers) as news:
            news.say({"x": 1})
            await until(lambda: odd.told)
            workers[0] = (late := Worker().listen()).questions
            await until(lambda: late.told)
            assert odd.told == [{"x": 1}]

    asyncio.run(check())
