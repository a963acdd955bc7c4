"""Documents about generations."""

from pathlib import Path

import pytest

from tests.unit.control.generations.kept import contents, keep, store_in
from tests.unit.control.generations.rig import RULE, Rig, play
from tests.unit.control.policies import written
from tunproxy.control.generations import desk as desk_module
from tunproxy.control.generations.desk import Offline, folder_for, folders_kept, number_of, side_of
from tunproxy.control.generations.record import ASIDE
from tunproxy.control.generations.store import StoreError
from tunproxy.errors import ConfigError


def test_generations_are_listed(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload("SIGHUP")
        (rig.store.folder / "1.json").write_text("{")
        found = await rig.desk.generations()
        assert (found["running"], found["broken"], found["problem"]) == (2, [1], "")
        (row,) = found["generations"]
        assert (row["number"], row["by"], row["change"]) == (2, "SIGHUP", "tunproxy.toml +1 -0")
        assert (row["state"], row["files"], row["is_running"]) == ("on trial", 1, True)

    play(written(tmp_path, ""), talk)


def test_differences_of_what_runs_what_was_and_the_files(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload("save")
        assert (await rig.desk.diff("", "", with_secrets=False))["lines"] == []
        written(tmp_path, f"{RULE}[broken\n")
        found = await rig.desk.diff("", "", with_secrets=False)
        assert (found["old"], found["new"], found["lines"][-1]) == ("running", "files", "+[broken")
        found = await rig.desk.diff("1", "running", with_secrets=False)
        assert (found["old"], found["lines"][-1]) == ("generation 1", f"+{RULE.strip()}")
        assert (await rig.desk.diff("2", "running", with_secrets=False))["lines"] == []
        for wrong in ("7", "x", "-1", "0", "1e9", "../1"):
            with pytest.raises(ConfigError):
                await rig.desk.diff(wrong, "disk", with_secrets=False)

    play(written(tmp_path, ""), talk)


def test_reload_is_answered_with_its_number(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        answer = await rig.desk.reload(30)
        assert (answer["is_reloaded"], answer["generation"], answer["confirm_seconds"]) == (True, 2, 30)
        assert await rig.desk.confirm() == {"generation": 2}
        with pytest.raises(ConfigError, match="nothing to confirm"):
            await rig.desk.confirm()
        for wrong in (-1, 1e9):
            assert (await rig.desk.reload(wrong))["error"].startswith("confirm must be 1 to 86400 s")
        written(tmp_path, "rules = [")
        answer = await rig.desk.reload(30)
        assert (answer["is_reloaded"], answer["generation"]) == (False, 2)

    play(written(tmp_path, ""), talk)


def test_undo_is_a_decision_and_needs_no_confirmation(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        assert (await rig.desk.reload(30))["confirm_seconds"] == 30
        await rig.desk.undo(0, keep_files=False)
        assert (rig.rules(), rig.reloader.error) == (0, "")
        assert rig.applying.confirming.seconds_left == 0
        with pytest.raises(ConfigError, match="nothing to confirm"):
            await rig.desk.confirm()

    play(written(tmp_path, ""), talk)


def test_offline_one_answers_from_what_is_kept(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload("save")

    path = written(tmp_path, "")
    play(path, talk)
    path.write_text("other = 1\n")
    kept = Offline(store_in(tmp_path))
    assert [each["is_running"] for each in kept.generations()["generations"]] == [False, False]
    assert kept.diff("", "", with_secrets=False)["lines"][-2:] == [f"-{RULE.strip()}", "+other = 1"]
    assert kept.diff("1", "2", with_secrets=False)["lines"][-1] == f"+{RULE.strip()}"
    assert kept.undo(0)["written"] == [str(path)]
    assert path.read_text() == RULE


def test_nothing_that_was_applied_is_nothing(tmp_path: Path) -> None:
    keep(store_in(tmp_path), b"x", ASIDE)
    with pytest.raises(StoreError, match="nothing is kept that could be used"):
        Offline(store_in(tmp_path))


def test_lost_octets_are_told_by_their_hash(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    made = keep(store, contents(b"x"))
    for path in store.folder.rglob("objects/*/*"):
        path.unlink()
    side = side_of(store, made)
    assert (dict(side.contents), dict(side.lost)) == ({}, {made.files[0].path: made.files[0].digest})


def test_folders_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "state_folder", lambda: tmp_path / "mine")
    monkeypatch.setattr(desk_module, "SYSTEM_STATE", tmp_path / "system")
    assert folders_kept() == []
    for state, name in (("mine", "tun0"), ("system", "tun0"), ("system", "tun1")):
        folder = folder_for(tmp_path / state, name)
        folder.mkdir(parents=True)
        (folder / "1.json").touch()
    folder_for(tmp_path / "mine", "empty").mkdir()
    assert folders_kept() == [folder_for(tmp_path / "mine", "tun0"), folder_for(tmp_path / "system", "tun1")]
    assert folders_kept("tun1") == [folder_for(tmp_path / "system", "tun1")]


def test_number_of_a_generation() -> None:
    assert number_of("12") == 12
    with pytest.raises(ConfigError, match="'x' is no generation"):
        number_of("x")
