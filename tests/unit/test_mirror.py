"""Each module has a test file where one looks for it, and each test file a module."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "tests" / "unit"

# Unit tests of no single module: they read the tree.
ABOUT_THE_TREE = {"test_layers.py", "test_mirror.py", "test_package_docs.py", "test_project.py"}

# Tests of what a specification asks for, whichever modules meet it together.
ABOUT_A_SPECIFICATION = "test_conformance_"

# Modules whose promises only a kernel can keep or break: their tests stand where there is one.
TESTED_ELSEWHERE: dict[str, str] = {}


def modules() -> list[Path]:
    """Return the modules that hold code, as paths below tunproxy/."""
    paths = (path.relative_to(ROOT / "tunproxy") for path in (ROOT / "tunproxy").rglob("*.py"))
    return sorted(path for path in paths if path.name not in ("__init__.py", "__main__.py"))


def unit_tests() -> list[Path]:
    """Return the unit tests of modules, as paths below tests/unit/; plugins have a folder of their own."""
    paths = (path.relative_to(UNIT) for path in UNIT.rglob("test_*.py"))
    return sorted(
        path
        for path in paths
        if path.parts[0] != "plugins"
        and str(path) not in ABOUT_THE_TREE
        and not path.name.startswith(ABOUT_A_SPECIFICATION)
    )


@pytest.mark.parametrize("module", modules(), ids=str)
def test_module_has_a_test_file(module: Path) -> None:
    elsewhere = TESTED_ELSEWHERE.get(str(module))
    expected = ROOT / elsewhere if elsewhere else UNIT / module.with_name(f"test_{module.name}")
    assert expected.is_file(), f"tunproxy/{module} has no {expected.relative_to(ROOT)}"


@pytest.mark.parametrize("test", unit_tests(), ids=str)
def test_test_file_has_a_module(test: Path) -> None:
    module = ROOT / "tunproxy" / test.with_name(test.name.removeprefix("test_"))
    assert module.is_file(), f"tests/unit/{test} tests no tunproxy/{module.relative_to(ROOT / 'tunproxy')}"


def test_exception_names_modules_that_exist() -> None:
    assert set(TESTED_ELSEWHERE) <= {str(module) for module in modules()}
