"""What ends a supervisor's work, with workers and duties that are played."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.waiting import until
from tunproxy.control import lasting
from tunproxy.control.lasting import until_the_end
from tunproxy.control.process import SIGNALS


class Workers:
    """Plays the crew."""

    def __init__(self) -> None:
        self.children = 0
        self.lost: asyncio.Future[str] | None = None
        self.is_at_work = False

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator["asyncio.Future[str]"]:
        self.lost = asyncio.get_running_loop().create_future()
        self.is_at_work = True
        yield self.lost
        self.is_at_work = False

    def on_child(self) -> None:
        self.children += 1


class Reloads:
    def __init__(self) -> None:
        self.why: list[str] = []

    async def reload_and_tell(self, why: str) -> None:
        self.why.append(why)


def last(
    *numbers: int, lost: str = "", slow_end: bool = False
) -> tuple[str | None, Workers, Reloads, list[str]]:
    """Return how it ends when these signals come, one after the other, or the workers are lost."""
    workers, reloads, seen = Workers(), Reloads(), []

    @contextlib.asynccontextmanager
    async def duty(name: str) -> AsyncIterator[None]:
        seen.append(f"{name} begins")
        yield
        if slow_end:
            hurries = seen.count("hurry")
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: seen.count("hurry") > hurries)
        assert workers.is_at_work, "duties end before the workers do"
        seen.append(f"{name} ends")

    async def cause() -> None:
        for number in numbers:
            await asyncio.sleep(0.02)
            os.kill(os.getpid(), number)
            await until(lambda taken=number: taken not in signal.sigpending())  # type: ignore[misc]
        await asyncio.sleep(0.02)
        if lost and workers.lost is not None:
            workers.lost.set_result(lost)

    async def both() -> str | None:
        task = asyncio.create_task(cause())
        async with asyncio.timeout(30):
            found = await until_the_end(
                workers,  # type: ignore[arg-type]
                reloads,  # type: ignore[arg-type]
                [duty("one"), duty("two")],
                lambda: seen.append("hurry"),
            )
        await task
        return found

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return asyncio.run(both()), workers, reloads, seen
    finally:
        assert set(SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert not set(SIGNALS) & signal.sigpending()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_and_duties_end_in_turn(number: int) -> None:
    why, workers, _, seen = last(number)
    assert why is None
    assert seen == ["one begins", "two begins", "two ends", "one ends"]
    assert not workers.is_at_work


def test_signals_that_come_after_it_hurry_the_duties() -> None:
    why, _, reloads, seen = last(signal.SIGTERM, slow_end=True)
    assert (why, reloads.why) == (None, [])
    assert seen == ["one begins", "two begins", "hurry", "two ends", "hurry", "one ends"]


def test_children_are_looked_after_and_end_nothing() -> None:
    why, workers, _, _ = last(signal.SIGCHLD, signal.SIGTERM)
    assert why is None
    assert workers.children == 2  # once at the beginning, for those that ended before


def test_workers_that_are_lost_end_it_and_say_why() -> None:
    assert last(lost="killed by signal 9")[0] == "killed by signal 9"


@pytest.mark.parametrize(
    ("terminals", "why"), [([False], "SIGHUP"), ([True, True], "SIGHUP"), ([True, False], "")]
)
def test_hang_up_is_a_reload_unless_the_terminal_has_gone(
    terminals: list[bool], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: Any = iter(terminals)
    monkeypatch.setattr(lasting, "_has_terminal", lambda: next(answers))
    found, _, reloads, _ = last(signal.SIGHUP, *([signal.SIGTERM] if why else []))
    assert (found, reloads.why) == (None, [why] if why else [])
