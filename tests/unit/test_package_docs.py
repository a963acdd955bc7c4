"""A package's ``__init__`` explains the package, briefly, and in names that exist."""

import ast
import builtins
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted((ROOT / "tunproxy").rglob("__init__.py"))
FOLDERS = sorted({path.parent for path in (ROOT / "tunproxy").rglob("*.py")})
MAX_LINES = 40

QUOTED = re.compile(r"``([^`]+)``")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).parent)


def names_in(path: Path) -> set[str]:
    """Return every identifier that the file's code uses or defines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for field in ("name", "id", "arg", "attr"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.add(value)
    return found


def vocabulary(package: Path) -> set[str]:
    """Return what a package's docstring may speak of: its modules, their names, and its neighbours."""
    known = set(dir(builtins)) | sys.stdlib_module_names | {"tunproxy", package.name}
    for folder in {package, ROOT / "tunproxy"}:
        known |= {path.stem for path in folder.glob("*.py")}
        known |= {path.parent.name for path in folder.glob("*/__init__.py")}
    for path in package.glob("*.py"):
        known |= names_in(path)
    return known


def is_module(name: str) -> bool:
    """Return whether name is a module's, counted from tunproxy."""
    return (ROOT / "tunproxy" / name.replace(".", "/")).with_suffix(".py").is_file()


@pytest.mark.parametrize("init", PACKAGES, ids=name_of)
def test_package_init_holds_only_a_short_docstring(init: Path) -> None:
    tree = ast.parse(init.read_text())
    docstring = ast.get_docstring(tree)
    assert docstring, "a package says what it promises"
    assert len(tree.body) == 1, "a package's __init__ holds no code"
    assert len(docstring.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("init", PACKAGES, ids=name_of)
def test_package_docstring_names_exist(init: Path) -> None:
    known = vocabulary(init.parent)
    quoted = QUOTED.findall(ast.get_docstring(ast.parse(init.read_text())) or "")
    words = {word.removesuffix("()") for text in quoted for word in text.split()}
    names = {word.removesuffix(".py") for word in words if NAME.fullmatch(word.removesuffix(".py"))}
    unknown = sorted(name for name in names if not (set(name.split(".")) <= known or is_module(name)))
    assert not unknown, f"{name_of(init)} speaks of {', '.join(unknown)}, which it does not have"


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_folder_with_code_is_a_package(folder: Path) -> None:
    assert (folder / "__init__.py").is_file()
