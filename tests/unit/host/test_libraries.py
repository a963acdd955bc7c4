"""Modules behind a door that closes, in child processes."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host import privileges
from tunproxy.host.libraries import OpenedFolders, keep_reachable
from tunproxy.host.privileges import SocketNeeds


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder of modules that everybody may read, and a house around it that only its owner may enter."""
    made = tmp_path / "closed" / "library"
    (made / "furniture" / "chairs").mkdir(parents=True)
    (made / "hammer.py").write_text("WEIGHT = 3\n")
    (made / "furniture" / "__init__.py").write_text("from furniture import tables\n")
    (made / "furniture" / "tables.py").write_text("LEGS = 4\n")
    (made / "furniture" / "chairs" / "__init__.py").write_text("")
    (made / "furniture" / "chairs" / "stool.py").write_text("LEGS = 3\n")
    (tmp_path / "closed").chmod(0o700)
    return made


def become_nobody() -> None:
    privileges.become(61_000, 61_000, SocketNeeds())


@needs_namespaces
@pytest.mark.parametrize("is_kept", [True, False])
def test_module_is_found_after_rights_are_given_up_where_its_folder_was_kept(
    library: Path, is_kept: bool
) -> None:
    def check() -> None:
        sys.path.insert(0, str(library))
        if is_kept:
            keep_reachable()
        become_nobody()
        with pytest.raises(PermissionError):
            (library / "hammer.py").read_text()
        if not is_kept:
            with pytest.raises(ImportError):
                importlib.import_module("hammer")
            return
        assert importlib.import_module("hammer").WEIGHT == 3
        assert importlib.import_module("furniture.chairs.stool").LEGS == 3
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("furniture.beds")

    isolated(check)


@needs_namespaces
def test_rest_of_a_package_is_found_that_was_loaded_before(library: Path) -> None:
    def check() -> None:
        sys.path.insert(0, str(library))
        importlib.import_module("furniture")
        keep_reachable()
        become_nobody()
        assert importlib.import_module("furniture.chairs.stool").LEGS == 3

    isolated(check)


@needs_namespaces
def test_nothing_outside_of_the_folder_is_reached(library: Path) -> None:
    def check() -> None:
        (library.parent / "secret.py").write_text("x = 1\n")
        keep_reachable([str(library)])
        [opened] = OpenedFolders([str(library)])._opened(str(library))
        become_nobody()
        assert "hammer.py" in os.listdir(opened)
        for name in ("..", "../secret.py"):
            with pytest.raises(PermissionError):
                os.stat(f"{opened}/{name}/.") if name == ".." else os.stat(f"{opened}/{name}")

    isolated(check)


def test_folders_that_are_none_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "zip").write_text("")
    finder = OpenedFolders(["", "relative", str(tmp_path / "zip"), str(tmp_path / "missing")])
    assert finder.find_spec("anything", None) is None


def test_whole_names_of_folders_count(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "tool.py").write_text("")
    finder = OpenedFolders([str(tmp_path / "lib")])
    assert finder.find_spec("tool", [str(tmp_path / "library")]) is None
    (tmp_path / "lib" / "tool.py").write_text("")
    found = finder.find_spec("tool", [str(tmp_path / "lib")])
    assert found is not None
    assert str(found.origin).startswith("/proc/self/fd/")
