"""What many ask for at once is asked for once; who waits wakes with the others."""

import asyncio
import itertools

import pytest

from tunproxy.control.clash import shared as module
from tunproxy.control.clash.shared import Shared, ticks


def test_one_answer_serves_all_who_ask_meanwhile_and_right_after(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def fetch() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return calls

    async def talk() -> None:
        shared = Shared(fetch)
        monkeypatch.setattr(module, "FRESH_SECONDS", 60)
        assert await asyncio.gather(*(shared.get() for _ in range(50))) == [1] * 50
        assert await shared.get() == 1
        shared.forget()
        assert await shared.get() == 2
        assert await shared.get() == 2
        monkeypatch.setattr(module, "FRESH_SECONDS", 0.01)
        await asyncio.sleep(0.05)
        assert await shared.get() == 3

    asyncio.run(talk())


def test_one_who_goes_away_takes_nothing_from_the_others() -> None:
    async def fetch() -> str:
        await asyncio.sleep(0.05)
        return "here"

    async def talk() -> None:
        shared = Shared(fetch)
        first = asyncio.create_task(shared.get())
        second = asyncio.create_task(shared.get())
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == "here"

    asyncio.run(talk())


def test_failure_is_everybody_s_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [ValueError("no"), None]

    async def fetch() -> None:
        error = results.pop(0)
        if error is not None:
            raise error

    async def talk() -> None:
        shared = Shared(fetch)
        monkeypatch.setattr(module, "FRESH_SECONDS", 60)
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                await shared.get()
        monkeypatch.setattr(module, "FRESH_SECONDS", 0.01)
        await asyncio.sleep(0.05)
        await shared.get()

    asyncio.run(talk())


def test_what_is_under_way_is_given_up_at_the_end() -> None:
    async def talk() -> None:
        shared = Shared(asyncio.Event().wait)
        asker = asyncio.create_task(shared.get())
        await asyncio.sleep(0.01)
        await shared.close()
        with pytest.raises(asyncio.CancelledError):
            await asker
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await shared.close()

    asyncio.run(talk())


def test_ticks_are_at_multiples() -> None:
    async def talk() -> None:
        found = []
        async for now in ticks(0.05):
            found.append(now)
            if len(found) == 4:
                break
        steps = [(now + 0.001) // 0.05 for now in found]
        assert all(after > before for before, after in itertools.pairwise(steps))

    asyncio.run(talk())
