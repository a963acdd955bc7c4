"""Where plugins are found."""

import dataclasses
import sys
from pathlib import Path

import pytest

from tests.unit.plugin.distribution import distribution
from tunproxy.errors import ConfigError
from tunproxy.plugin.discovery import (
    find_file,
    find_in_files,
    find_in_folder,
    find_installed,
    find_plugins,
    load_file,
    read_files,
)
from tunproxy.plugin.settings import PluginEntry, PluginSettings

DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Options:
    x: int = 1
"""


def test_find_plugins_installed_then_folder_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path / "site", "tunproxy_found", zeta="", alpha="")
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.py", "a.py", "_private.py", "test_a.py", "conftest.py", ".hidden.py", "notes.txt"):
        (folder / name).touch()
    (folder / "package.py").mkdir()
    named = tmp_path / "named.py"
    named.touch()
    found = find_plugins(PluginSettings(folder=folder, files=(named,)), "tunproxy_found")
    assert [(each.name, each.kind) for each in found] == [
        ("alpha", "installed"), ("zeta", "installed"), ("a", "folder"), ("b", "folder"), ("named", "file"),
    ]  # fmt: skip
    assert [each.source for each in found[:3]] == ["example 1.0", "example 1.0", str(folder / "a.py")]


def test_find_in_folder_that_is_not_there_finds_nothing(tmp_path: Path) -> None:
    assert find_in_folder(PluginSettings(folder=tmp_path / "none")) == []
    assert find_in_folder(PluginSettings()) == []


def test_find_says_why_something_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "b.py").touch()
    settings = PluginSettings(folder=tmp_path, deny=frozenset({"a"}))
    assert [each.why_not for each in find_in_folder(settings)] == ["denied (plugins.deny)", ""]
    assert find_file(tmp_path / "a.py").why_not == "", "whoever names it wants it"


@pytest.mark.parametrize(
    ("settings", "is_loaded"),
    [
        (PluginSettings(), False),
        (PluginSettings(plugins={"extra": PluginEntry()}), True),
        (PluginSettings(allow=frozenset({"extra"})), True),
        (PluginSettings(plugins={"extra": PluginEntry(enabled=False)}), False),
    ],
)
def test_find_installed_optional_plugin_has_to_be_turned_on(
    settings: PluginSettings, is_loaded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "tunproxy_opt.optional", extra="")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = find_installed(settings, "tunproxy_opt")
    assert (found.why_not == "") == is_loaded


def test_find_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot load plugin '.*none.py': no such file"):
        find_file(tmp_path / "none.py")


def test_read_files_reads_what_is_wanted_and_names_what_is_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name in ("a", "b", "_private", "test_a"):
        (folder / f"{name}.py").write_text(f"name = {name!r}")
    named = tmp_path / "named.py"
    named.write_text("name = 'named'")
    settings = PluginSettings(folder=folder, files=(named, folder / "b.py"), deny=frozenset({"a"}))
    files = read_files(settings)
    assert [(each.path.stem, each.kind, each.data is None) for each in files] == [
        ("a", "folder", True),
        ("named", "file", False),
        ("b", "file", False),
    ]
    named.unlink()
    found = find_in_files(settings, files)
    assert [each.why_not for each in found] == ["denied (plugins.deny)", "", ""]
    assert found[1].load().name == "named", "as it was when it was read"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"cannot load plugin '.*named.py': no such file"):
        read_files(settings)


def test_load_file_each_version_is_a_module_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text("value = 1\ndef get():\n    return value\n")
    old = load_file(path)
    path.write_text("value = 2\ndef get():\n    return value\n")  # of one size, within one second
    new = load_file(path)
    assert (old.get(), new.get()) == (1, 2)
    assert list(tmp_path.iterdir()) == [path], "nothing is written beside it"


def test_load_file_dataclass_with_late_annotations_works(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text(DATACLASS)
    assert dataclasses.asdict(load_file(path).Options()) == {"x": 1}


def test_load_file_that_fails_leaves_no_module(tmp_path: Path) -> None:
    path = tmp_path / "broken_one.py"
    path.write_text("raise SystemExit(1)")
    with pytest.raises(SystemExit):
        load_file(path)
    assert not [name for name in sys.modules if name.endswith("broken_one")]
