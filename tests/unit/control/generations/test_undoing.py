"""Going back, with a worker and files; whatever happens, what was written is somewhere."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.control.generations.kept import store_in
from tests.unit.control.generations.rig import RULE, Rig, play
from tests.unit.control.policies import written
from tunproxy.control.generations import objects
from tunproxy.control.generations import store as store_module
from tunproxy.control.generations.contents import contents_of
from tunproxy.control.generations.record import ASIDE, HEALTHY, TRIAL
from tunproxy.control.generations.store import Store
from tunproxy.control.generations.undoing import offline, options_of
from tunproxy.control.reload import ReloadError
from tunproxy.errors import ConfigError, TunproxyError

TWO = 'rules = ["DOMAIN,a.example,REJECT", "MATCH,DIRECT"]\n'


def somewhere(store: Store, text: str) -> bool:
    """Tell whether a generation has these octets."""
    files = [file for each in store.find().generations for file in each.files if store.has(file.digest)]
    return any(store.read(file) == text.encode() for file in files)


def test_undo_goes_back_step_by_step_and_forth_again(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        for text in (RULE, TWO):
            written(tmp_path, text)
            await rig.reloader.reload("save")
        done = await rig.desk.undo(0, keep_files=False)
        assert (done["restores"], done["generation"], done["is_new"], done["kept_as"]) == (2, 4, True, 3)
        assert (rig.path.read_text(), rig.rules()) == (RULE, 1)
        assert (await rig.desk.undo(0, keep_files=False))["restores"] == 1
        assert (rig.path.read_text(), rig.rules()) == ("", 0)
        with pytest.raises(ConfigError, match="cannot undo: nothing else was in force before generation 5"):
            await rig.desk.undo(0, keep_files=False)
        assert (await rig.desk.undo(3, keep_files=False))["restores"] == 3
        assert (rig.path.read_text(), rig.rules()) == (TWO, 2)
        assert [each.by for each in rig.store.find().generations][3:] == [
            "undo to 2",
            "undo to 1",
            "undo to 3",
        ]
        with pytest.raises(ConfigError, match="there is no generation 99"):
            await rig.desk.undo(99, keep_files=False)

    play(written(tmp_path, ""), talk)


def test_undo_of_a_file_that_is_wrong_puts_back_what_runs(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, "[broken")
        with pytest.raises(ReloadError):
            await rig.reloader.reload("save")
        done = await rig.desk.undo(0, keep_files=False)
        assert (done["restores"], done["is_new"], done["kept_as"]) == (1, False, 2)
        assert rig.path.read_text() == RULE
        assert rig.states() == [(1, HEALTHY), (2, ASIDE)]
        assert somewhere(rig.store, "[broken")
        assert rig.reloader.error == ""
        assert rig.book.number == 1

    play(written(tmp_path, RULE), talk)


def test_saving_by_undo_is_no_news_to_the_watcher(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        async with rig.reloader.watching():
            await asyncio.sleep(0.3)
            written(tmp_path, RULE)
            async with asyncio.timeout(20):
                while rig.book.number != 2:
                    await asyncio.sleep(0.01)
            await rig.desk.undo(0, keep_files=False)
            generation = rig.keeper.policy.generation
            await asyncio.sleep(0.6)
            assert rig.keeper.policy.generation == generation

    play(written(tmp_path, ""), talk)


def test_files_may_stay(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload("save")
        rig.choices["g"] = "other"
        done = await rig.desk.undo(0, keep_files=True)
        assert (done["written"], done["kept_as"], rig.rules()) == ([], 0, 0)
        assert rig.path.read_text() == RULE
        assert any("not what the files say" in each for each in rig.applying.problems())
        await rig.reloader.again()
        assert rig.rules() == 0, "what is built anew is what runs"
        await rig.reloader.reload()
        assert (rig.rules(), rig.applying.problems()) == (1, [])

    play(written(tmp_path, ""), talk)


def test_selections_are_those_of_then(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        rig.choices["g"] = "one"
        written(tmp_path, RULE)
        await rig.reloader.reload("save")
        rig.choices["g"] = "two"
        await rig.desk.undo(0, keep_files=False)
        assert rig.chosen == [{"g": "one"}]

    play(written(tmp_path, ""), talk)


def test_generation_that_cannot_be_built_leaves_files_and_policy(tmp_path: Path) -> None:
    """It worked then, with something that is no file."""
    text = (
        '[upstreams.w]\ntype = "socks5"\nserver = "192.0.2.1"\nuser = "u"\npassword = { env = "GENS_PW" }\n'
    )

    async def talk(rig: Rig) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GENS_PW", "x")
            written(tmp_path, text)
            await rig.reloader.reload("save")
        written(tmp_path, RULE)
        await rig.reloader.reload("save")
        with pytest.raises(TunproxyError, match="GENS_PW"):
            await rig.desk.undo(2, keep_files=False)
        assert (rig.path.read_text(), rig.rules(), rig.book.number) == (RULE, 1, 3)

    play(written(tmp_path, ""), talk)


def test_full_disk_touches_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, "[broken")

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(objects, "write_private", full)
            with pytest.raises(ConfigError, match="no space left on device"):
                await rig.desk.undo(0, keep_files=False)
        assert rig.path.read_text() == "[broken"
        await rig.desk.undo(0, keep_files=False)
        assert rig.path.read_text() == RULE

    play(written(tmp_path, RULE), talk)


def test_what_is_too_large_to_be_kept_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST_OF_FILE", 200)
    text = 'rules-file = "home.rules"\n'
    small = "DOMAIN,a.example,REJECT\n"
    large = "".join(f"DOMAIN,x{number}.example,REJECT\n" for number in range(50))

    async def talk(rig: Rig) -> None:
        (tmp_path / "home.rules").write_text(large)
        await rig.reloader.reload("save")
        done = await rig.desk.undo(1, keep_files=False)
        assert done["notes"] == [f"{tmp_path}/home.rules stays as it is: it is too large to be kept"]
        assert (tmp_path / "home.rules").read_text() == large
        assert rig.rules() == 1
        assert any("not what the files say" in each for each in rig.applying.problems())

    play(written(tmp_path, text, home_rules=small), talk)


def test_two_undos_at_once_lose_nothing(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        for text in (RULE, TWO):
            written(tmp_path, text)
            await rig.reloader.reload("save")
        written(tmp_path, "# not applied\n")
        await asyncio.gather(*(rig.desk.undo(number, keep_files=False) for number in (1, 2)))
        assert (rig.path.read_text(), rig.rules()) == (RULE, 1)
        assert all(somewhere(rig.store, text) for text in ("", RULE, TWO, "# not applied\n"))

    play(written(tmp_path, ""), talk)


def test_plugins_are_those_of_then(tmp_path: Path) -> None:
    text = '[plugins]\nfolder = "plugins"\n'
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "old.py").write_text("x = 1\n")

    async def talk(rig: Rig) -> None:
        (folder / "old.py").write_text("x = 2\n")
        (folder / "new.py").write_text("y = 1\n")
        await rig.reloader.reload("save")
        done = await rig.desk.undo(0, keep_files=False)
        assert done["moved"] == {f"{folder}/new.py": f"{folder}/new.py.undone-2"}
        assert (folder / "old.py").read_text() == "x = 1\n"
        assert [each.path.name for each in rig.reloader.sources.plugin_files] == ["old.py"]
        contents = contents_of(rig.reloader.sources)
        assert contents[f"{folder}/old.py"].data == b"x = 1\n"

    play(written(tmp_path, text), talk)


def test_files_are_put_back_where_nothing_runs(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, TWO)
        await rig.reloader.reload("save")
        assert rig.states()[-1] == (2, TRIAL)

    path = written(tmp_path, RULE)
    play(path, talk)
    store = store_in(tmp_path)
    last = store.find().get(2)
    path.write_text("[broken")
    done = asyncio.run(offline(store, last).undo(0, None, keep_files=False))
    assert (done.target.number, done.kept_as, done.is_new) == (2, 3, False)
    assert path.read_text() == TWO
    asyncio.run(offline(store, last).undo(1, None, keep_files=False))
    assert path.read_text() == RULE
    assert somewhere(store, "[broken")


def test_options_of_a_generation_name_its_files(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        assert options_of(rig.store.find().get(1)).config == str(rig.path)

    play(written(tmp_path, ""), talk)


def test_file_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    text = 'rules-file = "home.rules"\n'

    async def talk(rig: Rig) -> None:
        (tmp_path / "home.rules").unlink()
        (tmp_path / "home.rules").mkdir()
        with pytest.raises(ConfigError, match=r"cannot keep .*home\.rules: it cannot be read"):
            await rig.desk.undo(0, keep_files=False)
        assert (tmp_path / "home.rules").is_dir()
        assert rig.states() == [(1, HEALTHY)]

    play(written(tmp_path, text, home_rules="MATCH,DIRECT\n"), talk)


def test_damaged_store_touches_nothing(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        written(tmp_path, RULE)
        await rig.reloader.reload("save")
        for path in rig.store.folder.rglob("objects/*/*"):
            path.chmod(0o600)
            path.write_bytes(b"damage")
        with pytest.raises(ConfigError, match="cannot go back to generation 1: its configuration is lost"):
            await rig.desk.undo(0, keep_files=False)
        assert (rig.path.read_text(), rig.rules()) == (RULE, 1)
        written(tmp_path, TWO)
        await rig.reloader.reload("save")
        assert rig.rules() == 2, "and life goes on"

    play(written(tmp_path, "# nothing\n"), talk)
