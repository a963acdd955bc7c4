"""The project's files agree with each other."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOK = PROJECT["tool"]["hatch"]["build"]["hooks"]["custom"]
IMPORT_NAMES = {
    "backports.zstd": "backports",
    "dbus-fast": "dbus_fast",
    "dnspython": "dns",
    "logging-journald": "logging_journald",
    "mypy-extensions": "mypy_extensions",
    "prometheus-client": "prometheus_client",
    "ruamel.yaml": "ruamel",
}
TOOLS = {"test", "dev"}  # extras of which nothing that is installed may make use
PYTESTS_OWN = {"pytest"}  # what is imported by plugins of pytest is there when they are
NEWER_LIBRARY = {"compression"}  # what backports stand in for before Python 3.14


def requirement_name(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement)[0].replace("_", "-").lower()


def foreign_imports() -> set[str]:
    """Return the top-level names that the installed code imports from elsewhere."""
    found: set[str] = set()
    for path in [*(ROOT / "tunproxy").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - NEWER_LIBRARY - PYTESTS_OWN - {"tunproxy"}


def test_dependencies_are_what_is_imported() -> None:
    declared = {requirement_name(requirement) for requirement in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"]
    optional = {
        requirement_name(each) for name, those in extras.items() for each in those if name not in TOOLS
    }
    assert {IMPORT_NAMES.get(name, name) for name in declared} == foreign_imports() - optional


@pytest.mark.parametrize("pattern", HOOK["include"])
def test_compiled_set_names_files_that_exist(pattern: str) -> None:
    assert list(ROOT.glob(pattern.removeprefix("/"))), f"{pattern} matches no file"


@pytest.mark.parametrize("pattern", HOOK["exclude"])
def test_uncompiled_exceptions_name_files_that_exist(pattern: str) -> None:
    assert list(ROOT.glob(f"**/{pattern.removeprefix('/')}")), f"{pattern} matches no file"


def test_modules_written_to_be_native_are_compiled() -> None:
    compiled = {path for pattern in HOOK["include"] for path in ROOT.glob(pattern.removeprefix("/"))}
    compiled -= {path for pattern in HOOK["exclude"] for path in ROOT.glob(f"**/{pattern.removeprefix('/')}")}
    native = {path for path in (ROOT / "tunproxy").rglob("*.py") if "native_class=True" in path.read_text()}
    assert native <= compiled


@pytest.mark.parametrize(("name", "module"), PROJECT["project"]["entry-points"]["tunproxy"].items())
def test_entry_point_is_a_plugin_of_the_tree(name: str, module: str) -> None:
    package, folder = module.split(".")
    assert package == "tunproxy_plugins"
    assert (ROOT / "plugins" / folder / "__init__.py").is_file()


def test_changelog_has_a_section_for_the_version() -> None:
    version = PROJECT["project"]["version"]
    assert re.search(rf"^## \[({re.escape(version)}|Unreleased)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_readme_starts_with_the_two_commands() -> None:
    commands = re.findall(r"^    (make .*)$", (ROOT / "README.md").read_text(), re.M)
    assert commands[0].startswith("make run")
    assert any(command.startswith("make test") for command in commands[:3])


def test_readme_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
