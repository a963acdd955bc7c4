"""Fake addresses at the end: how long they are waited for."""

import asyncio
import time
from collections.abc import Callable

from tests.unit.control.name_workers import NameWorker, name_worker
from tests.unit.waiting import until
from tunproxy.control.draining import Draining

LONG = 1000.0


def drained(
    seconds: float,
    meanwhile: Callable[[NameWorker], None] | None = None,
    *,
    is_hurried: bool = False,
    **state: object,
) -> tuple[float, list[str], int]:
    """Return how long it took, what the worker was asked, and how often resolved was to forget."""
    flushed: list[int] = []

    async def flush() -> None:
        flushed.append(1)

    async def check() -> tuple[float, list[str]]:
        with name_worker(**state) as worker:
            draining = Draining([worker.questions], seconds, flush, fake_ttl=0.1)
            async with draining.draining():
                assert worker.asked == []
                if is_hurried:
                    draining.hurry()
                began = time.monotonic()
                if meanwhile is not None:
                    task = asyncio.create_task(_later(worker, meanwhile))
            took = time.monotonic() - began
            if meanwhile is not None:
                await task
            return took, worker.asked

    async def _later(worker: NameWorker, change: Callable[[NameWorker], None]) -> None:
        await until(lambda: worker.asked.count("names") > 1)
        change(worker)

    took, asked = asyncio.run(check())
    return took, asked, len(flushed)


def test_nothing_is_waited_for_where_addresses_are_real() -> None:
    took, asked, flushed = drained(LONG, has_fakes=False)
    assert (asked, flushed) == (["drain"], 0)
    assert took < 10


def test_fakes_of_old_that_nobody_uses_are_not_waited_for() -> None:
    _, asked, flushed = drained(LONG, has_fakes=True, fake_flows=0, fake_seconds=None)
    assert (asked, flushed) == (["drain", "names"], 1)


def test_the_last_flow_ends_it() -> None:
    def end(worker: NameWorker) -> None:
        worker.state["fake_flows"] = 0

    _, asked, flushed = drained(LONG, end, has_fakes=True, fake_flows=3, fake_seconds=50.0)
    assert asked[0] == "drain"
    assert asked.count("names") > 2
    assert flushed == 1


def test_who_was_told_one_just_now_is_waited_for() -> None:
    def age(worker: NameWorker) -> None:
        worker.state["fake_seconds"] = 0.31

    _, asked, _ = drained(LONG, age, has_fakes=True, fake_flows=0, fake_seconds=0.05)
    assert asked.count("names") > 2


def test_its_time_is_limited() -> None:
    took, asked, _ = drained(0.3, has_fakes=True, fake_flows=1, fake_seconds=0.0)
    assert took >= 0.3
    assert set(asked) == {"drain", "names"}
    assert drained(0.0, has_fakes=True, fake_flows=1, fake_seconds=0.0)[1] == ["drain"]


def test_who_is_in_a_hurry_ends_it() -> None:
    _, asked, _ = drained(LONG, is_hurried=True, has_fakes=True, fake_flows=1, fake_seconds=0.0)
    assert asked[0] == "drain"


def test_worker_that_is_gone_ends_it() -> None:
    _, asked, _ = drained(LONG, NameWorker.close, has_fakes=True, fake_flows=1, fake_seconds=0.0)
    assert asked[0] == "drain"
