"""Asking the workers, and writing what they tell."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.history.world import entry
from tunproxy.control.config.schema import HistoryConfig
from tunproxy.control.history import recorder as module
from tunproxy.control.history.places import StoreError
from tunproxy.control.history.query import Filter, Ring
from tunproxy.control.history.recorder import Recorder
from tunproxy.control.history.store import Store
from tunproxy.control.letters import answering
from tunproxy.control.questions import Questions, answer_on, socket_pair

ON = HistoryConfig(enabled=True)


class Worker:
    """Tells what a test puts into it, as an ``Outbox`` would."""

    def __init__(self, run: str = "r") -> None:
        self.run = run
        self.waiting: list[list[dict[str, Any]]] = []
        self.missed = 0
        self.asked: list[Mapping[str, Any]] = []
        self.sequence = 0
        ours, self._theirs = socket_pair()
        self.questions = Questions(ours)
        answer_on(asyncio.get_running_loop(), self._theirs, {}, {"history": answering(self._take)})

    def put(self, *numbers: int) -> None:
        now = time.time()
        self.waiting.append([entry(number=number, ended=now) for number in numbers])

    def hang_up(self) -> None:
        asyncio.get_running_loop().remove_reader(self._theirs)
        self._theirs.close()

    def _take(self, about: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(about)
        self.sequence += 1
        entries = self.waiting.pop(0) if self.waiting else []
        missed, self.missed = self.missed, 0
        return {
            "run": self.run,
            "sequence": self.sequence,
            "entries": entries,
            "missed": missed,
            "is_more": bool(self.waiting),
        }


class Made:
    def __init__(self, folder: Path, count: int) -> None:
        self.workers = [Worker(f"r{number}") for number in range(count)]
        self.config = ON
        self.said: list[str] = []
        self.path = folder / "h.sqlite"
        self.recorder = Recorder(
            [worker.questions for worker in self.workers],
            lambda: self.config,
            "tun0",
            self.path,
            self.said.append,
        )

    def numbers(self) -> list[int]:
        with Ring(self.path) as ring:
            return [each["number"] for each in ring.entries(Filter())]

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so():
                await asyncio.sleep(0.005)

    @property
    def told(self) -> Any:
        return self.recorder.document()["history"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.01)


def run(folder: Path, talk: Callable[[Made], Awaitable[None]], count: int = 1) -> None:
    async def both() -> None:
        await talk(Made(folder, count))

    asyncio.run(both())


def test_all_workers_are_asked_and_all_they_tell_is_written(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        made.workers[0].put(1, 2)
        made.workers[0].put(3)
        made.workers[1].put(4)
        async with made.recorder.recording():
            await made.until(lambda: made.told["recorded"] == 4)
            assert sorted(made.numbers()) == [1, 2, 3, 4]
            assert made.told["is_recording"]
        assert made.workers[0].asked[0] == {"run": "", "got": 0, "last": False, "whole": True}
        assert made.workers[0].asked[1] == {"run": "r0", "got": 1, "last": False, "whole": True}
        assert made.workers[0].asked[-1]["last"]
        assert (made.said, made.recorder.problems()) == ([], [])

    run(tmp_path, talk, 2)


def test_what_is_left_is_written_in_the_end(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        async with made.recorder.recording():
            await made.until(lambda: bool(made.workers[0].asked))
            made.workers[0].put(7)
        assert made.numbers() == [7]

    run(tmp_path, talk)


def test_nothing_is_recorded_or_asked_unless_it_is_wanted(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        made.config = HistoryConfig()
        async with made.recorder.recording():
            await asyncio.sleep(0.05)
        assert made.workers[0].asked == []
        assert not made.path.exists()
        assert made.told == {"is_recording": False, "path": None, "recorded": 0, "missed": 0}

    run(tmp_path, talk)


def test_configuration_that_changes_is_followed(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        async with made.recorder.recording():
            await made.until(lambda: bool(made.workers[0].asked))
            made.config = HistoryConfig()
            await made.until(lambda: "stop" in made.workers[0].asked[-1])
            await made.until(lambda: not made.told["is_recording"])
            made.workers[0].put(8)
            made.config = ON
            await made.until(lambda: made.told["recorded"] == 1)
        assert made.numbers() == [8]
        assert not made.workers[0].asked[-1]["whole"]  # what ended while it was not wanted is left out

    run(tmp_path, talk)


def test_answer_that_is_told_again_is_written_once(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        worker = made.workers[0]
        worker.put(1)
        async with made.recorder.recording():
            await made.until(lambda: made.told["recorded"] == 1)
            asked = len(worker.asked)
            worker.sequence -= 1
            worker.put(99)  # under a number that has been heard
            await made.until(lambda: len(worker.asked) > asked)
            assert made.numbers() == [1]

    run(tmp_path, talk)


def test_full_disk_is_said_once_and_recording_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    real = Store.add

    def add(store: Store, entries: list[Any], *more: Any) -> None:
        tries.append(len(entries))
        if len(tries) < 3:
            raise StoreError("cannot write /x: database or disk is full")
        real(store, entries, *more)

    monkeypatch.setattr(Store, "add", add)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.05)

    async def talk(made: Made) -> None:
        worker = made.workers[0]
        worker.put(1, 2)
        async with made.recorder.recording():
            await made.until(lambda: len(tries) == 1)
            await made.until(lambda: bool(made.recorder.problems()))
            assert made.recorder.problems() == [
                "flows are not recorded: cannot write /x: database or disk is full"
            ]
            assert not made.told["is_recording"]
            await made.until(lambda: made.told["recorded"] == 0 and len(tries) >= 3)
            worker.put(3)
            await made.until(lambda: made.told["recorded"] == 1)
            assert made.numbers() == [3]
            with Ring(made.path) as ring:
                assert ring.gaps(0) == (2, [module.NOT_WRITTEN])
        assert made.told["missed"] == 2
        assert made.said == [
            "flows are not recorded for now: cannot write /x: database or disk is full",
            "flows are recorded again; 2 were not",
        ]

    run(tmp_path, talk)


def test_flows_that_ended_too_fast_leave_a_gap(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        made.workers[0].missed = 5
        async with made.recorder.recording():
            await made.until(lambda: made.told["missed"] == 5)
        with Ring(made.path) as ring:
            assert ring.gaps(0) == (5, [module.TOO_FAST])

    run(tmp_path, talk)


def test_broken_file_is_said(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        made.path.write_bytes(b"no database " * 1000)
        made.workers[0].put(1)
        async with made.recorder.recording():
            await made.until(lambda: made.told["recorded"] == 1)
        assert len(made.said) == 1
        assert "was broken" in made.said[0]
        assert made.numbers() == [1]

    run(tmp_path, talk)


def test_worker_that_hangs_up_stops_nothing(tmp_path: Path) -> None:
    async def talk(made: Made) -> None:
        made.workers[0].hang_up()
        made.workers[1].put(1)
        async with made.recorder.recording():
            await made.until(lambda: made.told["recorded"] == 1)

    run(tmp_path, talk, 2)
