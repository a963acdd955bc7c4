"""Going back, what is told of it, and the tasks that may come to it."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.control.generations.rig import RULE, Rig, play
from tests.unit.control.policies import written
from tunproxy.control.generations.record import FAILED
from tunproxy.control.generations.returning import MAX_TEXT, Returning
from tunproxy.errors import ConfigError


def test_what_ran_is_put_back_and_told_with_both_numbers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def talk(rig: Rig) -> None:
        old, before = rig.reloader.sources, rig.book.running
        written(tmp_path, RULE)
        await rig.reloader.reload("reload")
        returning = Returning(rig.reloader, rig.book)

        async def is_wanted() -> str:
            return await returning.note("it is no good" + "!" * MAX_TEXT, before)

        await returning.go_back(old, is_wanted)
        assert (rig.rules(), rig.reloader.sources) == (0, old)
        assert (2, FAILED) in rig.states()

    play(written(tmp_path, ""), talk)
    told = capfd.readouterr().err
    assert "generation 2 was taken back, and 1 is in force again: it is no good!" in told
    assert len(told) < MAX_TEXT + 200


def test_what_nobody_wants_any_more_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def talk(rig: Rig) -> None:
        old = rig.reloader.sources
        written(tmp_path, RULE)
        await rig.reloader.reload("reload")

        async def is_wanted() -> str:
            return ""

        await Returning(rig.reloader, rig.book).go_back(old, is_wanted)
        assert rig.rules() == 1

    play(written(tmp_path, ""), talk)
    assert "taken back" not in capfd.readouterr().err


def test_why_nothing_could_be_put_back_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def talk(rig: Rig) -> None:
        async def is_wanted() -> str:
            raise ConfigError("the disk is gone")

        await Returning(rig.reloader, rig.book).go_back(rig.reloader.sources, is_wanted)

    play(written(tmp_path, ""), talk)
    assert "the disk is gone" in capfd.readouterr().err


def test_what_goes_on_aside_ends_with_us(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        returning = Returning(rig.reloader, rig.book)
        task = returning.begin(asyncio.sleep(600))
        await returning.close()
        assert task.cancelled()
        await returning.close()

    play(written(tmp_path, ""), talk)
