"""What nobody confirms is taken back, with what was saved just before."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.control.generations.rig import RULE, Rig, play
from tests.unit.control.policies import written
from tests.unit.waiting import until
from tunproxy.control.generations import confirming
from tunproxy.control.generations.record import FAILED, HEALTHY, TRIAL
from tunproxy.control.reload import ReloadError


def test_what_nobody_confirms_is_taken_back_with_all_that_came_after(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def talk(rig: Rig) -> None:
        old = rig.reloader.sources
        written(tmp_path, RULE)
        await rig.applying.confirming.reload("reload", 3)  # which is enough to save once more
        assert "tunproxy confirm lets it stay" in rig.applying.problems()[0]
        written(tmp_path, 'rules = ["MATCH,REJECT", "MATCH,DIRECT"]\n')
        await rig.reloader.reload("save")
        assert rig.rules() == 2
        await until(lambda: rig.reloader.sources is old)
        await until(lambda: rig.reloader.error and rig.rules() == 0)
        assert "nobody has confirmed it within 3 s" in rig.reloader.error
        assert rig.applying.problems() == []

    play(written(tmp_path, ""), talk)
    assert "nobody has confirmed" in capfd.readouterr().err


def test_what_was_saved_just_before_is_taken_back_as_well(tmp_path: Path) -> None:
    """A saved file is in force before anybody can type ``reload --confirm``."""

    async def talk(rig: Rig) -> None:
        old = rig.reloader.sources
        written(tmp_path, RULE)
        await rig.reloader.reload("save")
        written(tmp_path, 'rules = ["MATCH,REJECT", "MATCH,DIRECT"]\n')
        await rig.reloader.reload("save")
        assert rig.rules() == 2
        await rig.applying.confirming.reload("reload", 0.3)
        assert (rig.rules(), rig.applying.confirming.goes_back_to) == (2, 1)
        assert "what runs is taken back" in rig.applying.problems()[0]
        await until(lambda: rig.reloader.error and rig.rules() == 0)
        await until(lambda: rig.reloader.sources is old)
        assert rig.states()[-1] == (3, FAILED)

    play(written(tmp_path, ""), talk)


def test_what_was_saved_long_ago_or_confirmed_is_not_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload("save")
        await rig.applying.confirming.reload("reload", 30)
        assert rig.applying.confirming.goes_back_to == 1
        assert rig.applying.confirming.confirm()
        await rig.applying.confirming.reload("reload", 30)
        assert rig.applying.confirming.goes_back_to == 2
        assert rig.applying.confirming.confirm()
        monkeypatch.setattr(confirming, "SAVED_SECONDS", 0.05)
        written(tmp_path, 'rules = ["MATCH,REJECT", "MATCH,DIRECT"]\n')
        await rig.reloader.reload("save")
        await asyncio.sleep(0.2)
        await rig.applying.confirming.reload("reload", 0.1)
        assert rig.applying.confirming.goes_back_to == 3
        assert "what is saved now is taken back" in rig.applying.problems()[0]
        await until(lambda: not rig.applying.problems())
        assert (rig.rules(), rig.states()[-1], rig.reloader.error) == (2, (3, TRIAL), "")

    play(written(tmp_path, ""), talk)


def test_what_is_confirmed_stays(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.applying.confirming.reload("reload", 0.2)
        assert rig.applying.confirming.confirm()
        assert not rig.applying.confirming.confirm()
        await asyncio.sleep(0.3)
        assert rig.rules() == 1

    play(written(tmp_path, ""), talk)


def test_reload_with_an_error_needs_no_confirmation_and_keeps_nothing(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, "rules = [")
        with pytest.raises(ReloadError):
            await rig.applying.confirming.reload("reload", 10)
        assert not rig.applying.confirming.confirm()
        assert rig.states() == [(1, HEALTHY)]

    play(written(tmp_path, RULE), talk)
