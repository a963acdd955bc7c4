"""What is applied is tried, kept, and taken back."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.control.generations.rig import RULE, Rig, play
from tests.unit.control.policies import written
from tests.unit.waiting import until
from tunproxy.control.generations import applying as applying_module
from tunproxy.control.generations.record import FAILED, HEALTHY, TRIAL
from tunproxy.control.reload import ReloadError


def checked(folder: Path, seconds: float = 3, more: str = "") -> str:
    """Return a configuration whose check is that a file called works is there.

    It takes two processes, one after the other; and one that fails is tried again for so many seconds.
    """
    return f'{more}[apply]\ncheck = ["run: test -e {folder}/works"]\ncheck-seconds = {seconds}\n'


def test_what_is_applied_is_kept_and_healthy_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying_module, "CRASH_SECONDS", 0.05)

    async def talk(rig: Rig) -> None:
        assert rig.states() == [(1, HEALTHY)]
        written(tmp_path, RULE)
        await rig.reloader.reload("SIGHUP")
        assert rig.applying.document() == {"generation": {"running": 2, "confirm_seconds": 0.0}}
        await until(lambda: rig.states() == [(1, HEALTHY), (2, HEALTHY)])
        made = rig.store.find().get(2)
        assert (made.by, made.change) == ("SIGHUP", "tunproxy.toml +1 -0")
        await rig.reloader.reload("SIGHUP")
        assert len(rig.states()) == 2, "the same is not kept twice"

    play(written(tmp_path, ""), talk)


def test_check_that_fails_has_it_taken_back_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "works").touch()

    async def talk(rig: Rig) -> None:
        old = rig.reloader.sources
        written(tmp_path, checked(tmp_path, more=RULE))
        (tmp_path / "works").touch()
        rig.keeper.adopted = lambda policy: (tmp_path / "works").unlink(missing_ok=True)  # the rules break it
        with pytest.raises(ReloadError) as caught:
            await rig.reloader.reload()
        assert str(caught.value) == (
            f"generation 2 was taken back, and 1 is in force again: check 'run: test -e {tmp_path}/works' "
            "worked before and fails now: exit code 1 (tunproxy diff 1 2 shows the change, "
            "tunproxy undo puts the files back)"
        )
        assert rig.reloader.error == str(caught.value)
        assert (rig.rules(), rig.reloader.sources is old, rig.book.number) == (0, True, 1)
        assert rig.states() == [(1, HEALTHY), (2, FAILED)]
        assert rig.began[-1] is old
        assert rig.path.read_text().startswith(RULE), "the file is its author's"
        (tmp_path / "works").touch()
        rig.keeper.adopted = None
        await rig.reloader.reload()
        assert rig.rules() == 1
        assert rig.states() == [(1, HEALTHY), (2, TRIAL)], "the same again, and now it does"
        assert rig.reloader.error == ""

    play(written(tmp_path, ""), talk)


def test_check_that_failed_before_does_not_count(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, checked(tmp_path, more=RULE))
        await rig.reloader.reload()
        assert (rig.rules(), rig.book.number) == (1, 2)

    play(written(tmp_path, ""), talk)


def test_check_that_works_a_little_later_is_waited_for(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, checked(tmp_path, 20, RULE))
        (tmp_path / "works").touch()

        def adopted(policy: object) -> None:
            (tmp_path / "works").unlink()
            asyncio.get_running_loop().call_later(0.5, (tmp_path / "works").touch)

        rig.keeper.adopted = adopted
        await rig.reloader.reload()
        assert rig.rules() == 1

    play(written(tmp_path, ""), talk)


def test_worker_that_dies_in_time_has_it_taken_back(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        old = rig.reloader.sources
        rig.applying.worker_died(0, "killed by signal 11", False)
        assert (rig.began, rig.states()) == ([], [(1, HEALTHY)]), "nothing was applied that could be at fault"
        written(tmp_path, RULE)
        await rig.reloader.reload()
        rig.applying.worker_died(0, "killed by signal 11", False)
        assert rig.began[-1] is old, "at once: another worker is about to begin"
        await until(lambda: rig.reloader.error)
        assert "a worker died right after it was applied (killed by signal 11)" in rig.reloader.error
        await until(lambda: rig.rules() == 0)
        assert rig.states() == [(1, HEALTHY), (2, FAILED)]

    play(written(tmp_path, ""), talk)


def test_worker_that_somebody_kills_may_die_once(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload()
        for place in (0, 1):
            rig.applying.worker_died(place, "killed by signal 9", True)
        await asyncio.sleep(0.05)
        assert (rig.rules(), rig.reloader.error) == (1, "")
        rig.applying.worker_died(1, "killed by signal 9", True)  # a kernel without memory does it again
        await until(lambda: rig.reloader.error and rig.rules() == 0)

    play(written(tmp_path, ""), talk)


def test_worker_that_dies_while_checks_run(tmp_path: Path) -> None:
    (tmp_path / "works").touch()

    async def talk(rig: Rig) -> None:
        written(tmp_path, checked(tmp_path, 30, RULE))

        def adopted(policy: object) -> None:
            (tmp_path / "works").unlink()
            asyncio.get_running_loop().call_later(
                0.1, rig.applying.worker_died, 0, "killed by signal 11", False
            )
            rig.keeper.adopted = None

        rig.keeper.adopted = adopted
        with pytest.raises(
            ReloadError, match=r"a worker died right after it was applied \(killed by signal 11\)"
        ):
            await rig.reloader.reload()
        assert (rig.rules(), rig.states()[-1]) == (0, (2, FAILED))

    play(written(tmp_path, ""), talk)


def test_worker_that_dies_later_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying_module, "CRASH_SECONDS", 0.05)

    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload()
        await until(lambda: rig.states()[-1] == (2, HEALTHY))
        rig.applying.worker_died(0, "killed by signal 11", False)
        await asyncio.sleep(0.1)
        assert (rig.rules(), rig.states()[-1]) == (1, (2, HEALTHY))

    play(written(tmp_path, ""), talk)


def test_reloads_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await asyncio.gather(*(rig.reloader.reload(f"number {number}") for number in range(4)))
        assert [number for number, _ in rig.states()] == [1, 2]
        assert rig.rules() == 1

    play(written(tmp_path, ""), talk)


def test_store_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    store = tmp_path / "state"
    store.mkdir()
    (store / "generations").write_text("in the way")
    (tmp_path / "works").touch()

    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload()
        assert (rig.rules(), rig.book.number) == (1, 0)
        assert any(
            each.startswith("generations are not kept: cannot write into") for each in rig.applying.problems()
        )
        written(tmp_path, checked(tmp_path, more='rules = ["MATCH,REJECT", "MATCH,DIRECT"]\n'))
        rig.keeper.adopted = lambda policy: (tmp_path / "works").unlink(missing_ok=True)
        with pytest.raises(
            ReloadError, match="the new policy was taken back, and the one before is in force"
        ):
            await rig.reloader.reload()
        assert rig.rules() == 1, "which needs no store"
        (store / "generations").unlink()
        rig.keeper.adopted = None
        written(tmp_path, "")
        await rig.reloader.reload()
        assert rig.book.number > 0
        assert rig.applying.problems() == []

    play(written(tmp_path, ""), talk, store)


def test_who_wants_nothing_kept_has_nothing(tmp_path: Path) -> None:
    text = "[apply]\nkeep = false\n"

    async def talk(rig: Rig) -> None:
        written(tmp_path, f"{RULE}{text}")
        await rig.reloader.reload()
        assert (rig.rules(), rig.states(), rig.applying.problems()) == (1, [], [])

    play(written(tmp_path, text), talk)
