"""Files are put back, and none is lost on the way."""

import os
import stat
from pathlib import Path

import pytest

from tests.unit.control.generations.kept import keep, store_in
from tunproxy.control.generations import putting_back
from tunproxy.control.generations.contents import CONFIG, PLUGIN, RULES, FileState, OnDisk, as_it_is
from tunproxy.control.generations.putting_back import Plan, carry_out, plan_of, unkept, with_files_of
from tunproxy.control.generations.succession import contents_in
from tunproxy.errors import ConfigError


class Place:
    """A folder with files of a configuration, and a generation that had them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files"
        self.folder.mkdir()
        self.store = store_in(folder)
        self.config = self.folder / "tunproxy.toml"
        self.rules = self.folder / "home.rules"
        self.plugin = self.folder / "mine.py"
        self.config.write_text("old")
        self.rules.write_text("old rules")
        self.rules.chmod(0o640)
        self.generation = keep(self.store, self.now(), config=str(self.config))

    def now(self, *more: Path) -> dict[str, FileState]:
        found = {}
        for path, kind in ((self.config, CONFIG), (self.rules, RULES), *((each, PLUGIN) for each in more)):
            state = as_it_is(str(path), kind)
            if state is not None:
                found[str(path)] = state
        return found

    def plan(self, *more: Path) -> Plan:
        disk = with_files_of(OnDisk(str(self.config), self.now(*more)), self.generation)
        contents, _ = contents_in(self.store, self.generation)
        return plan_of(self.generation, contents, disk, self.folder)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_differs_is_written_and_keeps_its_mode(place: Place) -> None:
    assert place.plan().writes == []
    place.rules.write_text("new")
    place.rules.chmod(0o600)
    plan = place.plan()
    assert unkept(plan, place.store) == [str(place.rules)]
    done = carry_out(plan, "undone-7")
    assert (done.written, done.moved, done.notes) == ([str(place.rules)], {}, [])
    assert place.rules.read_text() == "old rules"
    assert stat.S_IMODE(place.rules.stat().st_mode) == 0o600, "as it is now"


def test_file_that_is_gone_comes_back_as_it_was(place: Place) -> None:
    place.rules.unlink()
    plan = place.plan()
    assert unkept(plan, place.store) == [], "there is nothing to lose"
    carry_out(plan, "x")
    assert place.rules.read_text() == "old rules"
    assert stat.S_IMODE(place.rules.stat().st_mode) & ~0o640 == 0
    assert place.rules.stat().st_uid == os.getuid()


def test_folder_that_is_gone_comes_back(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for path in (place.config, place.rules):
        path.unlink()
    place.folder.rmdir()
    carry_out(place.plan(), "x")
    assert place.config.read_text() == "old"


def test_plugin_that_was_not_there_gets_another_name(place: Place) -> None:
    place.plugin.write_text("new")
    (place.folder / "mine.py.undone-7").write_text("an older one")
    plan = place.plan(place.plugin)
    assert plan.moves == [str(place.plugin)]
    assert unkept(plan, place.store) == [str(place.plugin)]
    done = carry_out(plan, "undone-7")
    assert done.moved == {str(place.plugin): f"{place.plugin}.undone-7-2"}
    assert Path(f"{place.plugin}.undone-7-2").read_text() == "new"
    assert (place.folder / "mine.py.undone-7").read_text() == "an older one"


def test_link_that_leads_elsewhere_now_is_left_alone(place: Place, tmp_path: Path) -> None:
    """Whoever owns the folder must not have us write where he may not."""
    other = tmp_path / "shadow"
    other.write_text("not ours")
    place.rules.unlink()
    place.rules.symlink_to(other)
    plan = place.plan()
    assert plan.writes == []
    assert plan.notes == [f"{place.rules} stays as it is: it leads somewhere else now"]
    carry_out(plan, "x")
    assert other.read_text() == "not ours"


def test_link_stays_a_link(tmp_path: Path) -> None:
    place = Place(tmp_path)
    real = tmp_path / "real.rules"
    place.rules.rename(real)
    place.rules.symlink_to(real)
    place.generation = keep(place.store, place.now(), config=str(place.config))
    real.write_text("new")
    carry_out(place.plan(), "x")
    assert place.rules.is_symlink()
    assert real.read_text() == "old rules"


def test_file_that_is_saved_meanwhile_stays(place: Place) -> None:
    place.rules.write_text("new")
    plan = place.plan()
    place.rules.write_text("newer")
    done = carry_out(plan, "x")
    assert done.notes == [f"{place.rules} stays as it is: somebody has just saved it"]
    assert place.rules.read_text() == "newer"


def test_lost_octets_leave_the_file_as_it_is(place: Place) -> None:
    place.rules.write_text("new")
    for path in place.store.folder.rglob("objects/*/*"):
        path.unlink()
    place.config.write_text("new, too")
    plan = place.plan()
    assert plan.writes == []
    assert [each.partition(" stays")[2] for each in plan.notes] == [
        " as it is: what it held then is not kept"
    ] * 2


def test_failure_in_between_leaves_all_as_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (place.config, place.rules):
        path.write_text("new")
    written: list[str] = []
    real = putting_back.replace_file

    def refuse(path: str, data: bytes, mode: int) -> None:
        if len(written) == 1 and path not in written:
            raise ConfigError(f"cannot write {path}: no space left on device")
        written.append(path)
        real(path, data, mode)

    monkeypatch.setattr(putting_back, "replace_file", refuse)
    with pytest.raises(ConfigError, match=r"they stay as they are: cannot write .*: no space left on device"):
        carry_out(place.plan(), "x")
    assert [path.read_text() for path in (place.config, place.rules)] == ["new", "new"]


def test_file_in_the_way_that_nobody_names_any_more_counts(place: Place) -> None:
    place.rules.write_text("edited while nothing used it")
    disk = OnDisk(str(place.config), {str(place.config): place.now()[str(place.config)]})
    wide = with_files_of(disk, place.generation)
    assert wide.contents[str(place.rules)].data == b"edited while nothing used it"
