"""A worker that does not answer is ended and named; one that only looks like that is not."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.isolation import needs_namespaces
from tests.unit.control.test_crew import replaced, who, with_crew
from tunproxy.control.crew import Crew
from tunproxy.control.hung import HangWatch
from tunproxy.control.questions import GoneError, Questions, answer_on, socket_pair
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.host.activity import Activity


class Worker:
    """Stands for the process of a worker."""

    pid = 7

    def __init__(self) -> None:
        self.killed = ""

    async def where(self) -> str:
        return "decide_flow (slow.py:4)"

    def kill(self, why: str = "") -> None:
        self.killed = why


class Place:
    """Stands for a crew of one, whose worker answers as long as it is not deaf."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket_pair()
        self.questions = [Questions(self.ours)]
        self.worker: Worker | None = Worker()

    def __len__(self) -> int:
        return 1

    def serving(self, number: int) -> Worker | None:
        return self.worker


Looks = Callable[[int], Activity | None]


def asleep(pid: int) -> Activity:
    return Activity("S", 0.0)


def watched(
    look: Looks = asleep,
    clock: Callable[[], float] = time.monotonic,
    busy: bool = False,
    answers: bool = False,
    seconds: float = 3.0,
) -> str:
    """Return why a worker was ended; "" for one that was not within seconds."""
    place = Place()
    assert place.worker is not None

    async def run() -> str:
        worker: Any = place.worker
        crew: Any = place
        if answers:
            answer_on(asyncio.get_running_loop(), place.theirs, {})
        watch = HangWatch(
            crew, lambda: busy, pause=0.01, step=0.05, limits=(0.3, 60.0), look=look, clock=clock
        )
        async with watch.watching():
            until = time.monotonic() + seconds
            while not worker.killed and time.monotonic() < until:
                await asyncio.sleep(0.02)
        asyncio.get_running_loop().remove_reader(place.theirs)
        return str(worker.killed)

    with closing(place.ours), closing(place.theirs):
        return asyncio.run(run())


def test_worker_that_is_silent_is_ended_and_the_place_named() -> None:
    why = watched(seconds=20)
    assert why.startswith("killed because it did not answer for ")
    assert why.endswith(" s: it hung in decide_flow (slow.py:4)")


def test_stopped_worker_is_said_to_be_stopped() -> None:
    assert watched(lambda pid: Activity("T", 0.0), seconds=20).endswith(": somebody had stopped it")


def test_worker_that_answers_is_left_alone() -> None:
    assert watched(answers=True, seconds=1.2) == ""


def test_worker_that_builds_a_policy_has_more_time() -> None:
    assert watched(busy=True, seconds=1.2) == ""


def test_worker_that_waits_for_a_debugger_or_a_disk_does_not_hang() -> None:
    for state in "tD":
        assert watched(lambda pid, state=state: Activity(state, 0.0), seconds=1.2) == ""  # type: ignore[misc]


def test_worker_that_is_not_let_run_does_not_hang() -> None:
    began = time.monotonic()
    assert watched(lambda pid: Activity("R", time.monotonic() - began), seconds=1.2) == ""


def test_time_in_which_we_were_not_let_run_does_not_count() -> None:
    """As after SIGSTOP of all of us, or on a machine that thrashes: each step takes ten times as long."""
    times: Iterator[float] = (number * 0.5 for number in range(10_000))
    assert watched(clock=lambda: next(times), seconds=1.2) == ""


def test_process_that_has_ended_is_somebody_elses_matter() -> None:
    assert watched(lambda pid: None, seconds=1.2) == ""


@needs_namespaces
def test_stopped_worker_is_replaced_while_somebody_waits_for_its_answer() -> None:
    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        first, other = await who(crew, 0), await who(crew, 1)
        # Long enough that the other one is not ended when nothing but its processor is taken away.
        async with HangWatch(crew, lambda: False, pause=0.05, step=0.1, limits=(3.0, 60.0)).watching():
            os.kill(first["pid"], signal.SIGSTOP)
            waiting = asyncio.create_task(crew.questions[0].ask("who", patience=20))
            assert (await replaced(crew, 0, 1))["pid"] != first["pid"]
            with pytest.raises(GoneError):
                await waiting
            assert crew.story()[0]["last_end"] == (
                "killed because it did not answer for 3 s: somebody had stopped it"
            )
            assert await who(crew, 1) == other
            assert not lost.done()

    with_crew(talk)


def hang(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
    """Play a worker that is caught in somebody's code, but serves where it is a replacement."""
    on_ready("serving")
    if settings.restarts:
        signal.pause()
    while True:
        pass


@needs_namespaces
def test_worker_that_hangs_in_code_says_where() -> None:
    async def talk(crew: Crew, lost: "asyncio.Future[str]") -> None:
        async with HangWatch(crew, lambda: False, pause=0.05, step=0.1, limits=(0.4, 60.0)).watching():
            while not crew.story()[0]["restarts"]:
                await asyncio.sleep(0.02)
        assert str(crew.story()[0]["last_end"]).startswith("killed because it did not answer for 0 s: ")

    with_crew(talk, hang, count=1)
