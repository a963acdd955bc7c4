"""Plugins are loaded anew when they are saved, and stay when the new version is of no use."""

from pathlib import Path

import pytest

from tests.unit.plugin.test_manager import contributing
from tunproxy.plugin.discovery import INSTALLED, Found, PluginFile, read_files
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.reload import renewed
from tunproxy.plugin.settings import PluginSettings

SOURCE = """
from tunproxy.plugin.api import DialUpstream, hookimpl

@hookimpl
def contribute_upstreams():
    return [DialUpstream("{name}")]
"""


class Desk:
    """A folder of plugins, one that is named, and the plugins as they are now."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "plugins"
        self.named = tmp_path / "named.py"
        self.folder.mkdir()
        self.save("a", "one")
        self.save("b", "two")
        self.named.write_text(SOURCE.format(name="three"))
        self.settings = PluginSettings(
            folder=self.folder, files=(self.named,), deny=frozenset({"denied", "left_out"})
        )
        self.files: tuple[PluginFile, ...] = ()
        self.first = Plugins(self.settings)
        assert self.first.register(contributing("own"), "own")
        self.plugins = self.first
        assert self.refresh()

    def save(self, plugin: str, upstream: str) -> None:
        (self.folder / f"{plugin}.py").write_text(SOURCE.format(name=upstream))

    def refresh(self) -> bool:
        """Return whether anything has changed."""
        before, files = self.plugins, read_files(self.settings)
        self.plugins = renewed(before, self.files, files)
        self.files = files
        return self.plugins is not before

    def upstreams(self) -> list[str]:
        return list(self.plugins.upstreams())


def test_saved_plugin_is_new_and_the_others_are_the_same(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    old = desk.plugins
    before = {each.name: each.plugin for each in old.loaded}
    desk.save("a", "uno")
    assert desk.refresh()
    assert desk.upstreams() == ["own", "uno", "two", "three"]
    after = {each.name: each.plugin for each in desk.plugins.loaded}
    assert after["b"] is before["b"]
    assert after["a"] is not before["a"]
    assert list(old.upstreams()) == ["own", "one", "two", "three"], "who has the old ones keeps them"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = (", "cannot be imported: "),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("import nowhere_to_be_found", "it needs nowhere_to_be_found, which is not installed"),
        (SOURCE.format(name="x").replace("contribute_upstreams", "contribute_upstreems"), "there is no hook"),
        (SOURCE.format(name="x").replace("[Dial", "[7, Dial"), "contribute_upstreams failed: TypeError: 7"),
    ],
)
def test_broken_version_leaves_the_old_one(
    source: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path)
    (desk.folder / "a.py").write_text(source)
    assert desk.refresh()
    assert desk.upstreams() == ["own", "one", "two", "three"]
    assert why in desk.plugins.problems["a"]
    assert "plugin a stays as it was: the new version " in caplog.text
    desk.save("a", "uno")
    assert desk.refresh()
    assert desk.upstreams() == ["own", "uno", "two", "three"]
    assert desk.plugins.problems == {}


def test_new_and_removed_files_come_and_go_in_order(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.save("aa", "new")
    (desk.folder / "b.py").unlink()
    assert desk.refresh()
    assert desk.upstreams() == ["own", "one", "new", "three"]


def test_broken_new_file_is_told_once_until_it_is_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path)
    (desk.folder / "c.py").write_text("x = (")
    assert desk.refresh()
    desk.save("a", "uno")
    assert desk.refresh()
    assert "c.py" in desk.plugins.problems["c"]
    assert caplog.text.count("plugin c cannot be imported") == 1


@pytest.mark.parametrize("name", ["test_a", "_private"])
def test_what_is_no_plugin_changes_nothing(name: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.save(name, "x")
    assert not desk.refresh()
    assert desk.upstreams() == ["own", "one", "two", "three"]


def test_plugin_that_is_denied_is_not_even_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.save("denied", "x")
    desk.refresh()
    assert desk.upstreams() == ["own", "one", "two", "three"]
    assert [each.data for each in desk.files if each.path.stem == "denied"] == [None]
    assert [each.name for each in desk.plugins.left_out] == ["denied"]


def test_plugin_is_what_was_read_and_not_what_is_on_the_disk_now(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.save("a", "uno")
    files = read_files(desk.settings)
    (desk.folder / "a.py").unlink()
    assert list(renewed(desk.plugins, desk.files, files).upstreams()) == ["own", "uno", "two", "three"]


def test_problems_of_installed_plugins_are_still_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def load() -> object:
        raise RuntimeError("out of order")

    desk.plugins.load(Found("gone_bad", INSTALLED, "example 1.0", load))
    desk.save("a", "uno")
    assert desk.refresh()
    assert desk.plugins.problems == {"gone_bad": "cannot be imported: RuntimeError: out of order"}


def test_suspended_plugin_is_asked_again_once_it_is_saved(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    hook = desk.plugins.hooks("contribute_upstreams")[0]
    for _ in range(5):
        desk.plugins.ledger.ask(hook, {}, int, deed="be a number")  # type: ignore[arg-type]  # it is none
    assert not desk.plugins.ledger.may_ask(hook.plugin)
    (desk.folder / f"{hook.plugin}.py" if hook.plugin != "named" else desk.named).write_text(
        SOURCE.format(name="better")
    )
    assert desk.refresh()
    assert desk.plugins.ledger.may_ask(hook.plugin)
