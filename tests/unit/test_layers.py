"""Imports point down: what may know what (docs/architecture.md, "Who may import whom")."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "tunproxy").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))

LEVEL = {
    "errors": 0, "blame": 0, "clock": 0, "progress_bar": 0, "secret": 0, "wire": 0,
    "logs": 1, "progress": 1, "tcp": 1, "version": 1,
    "flow": 2, "device": 2, "rules": 2,
    "codecs": 3, "datagram": 3, "decide": 3, "upstream": 3, "host": 3, "rulesets": 3,
    "plugin": 4, "dns": 4,
    "loop": 5, "testkit": 5,
    "control": 6, "testing": 6,
    "relay": 7, "doctor": 7,
    "cli": 8, "__main__": 9, "__init__": 0,
}  # fmt: skip

# The engines take clocks, randomness and packets as arguments, so that a simulator can hand them its own.
EFFECTS = {"asyncio", "logging", "os", "random", "secrets", "select", "selectors", "socket", "time"}
PURE = {"wire", "tcp"}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that the file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 1 and path in PLUGINS:
                continue  # a plugin's own files: its folder has another name once it is installed
            assert node.level == 0, f"{path}:{node.lineno}: import by the full name"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def own(name: str) -> str:
    """Return the part of tunproxy that an imported name belongs to; "" for a foreign name."""
    parts = name.split(".")
    return parts[1] if parts[0] == "tunproxy" and len(parts) > 1 else ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_imports_point_down(path: Path) -> None:
    home = path.relative_to(ROOT).parts[1].removesuffix(".py")
    for line, name in imported(path):
        used = own(name)
        assert name.split(".")[0] != "tunproxy_plugins", f"{path}:{line}: plugins are found, not imported"
        assert not used or used == home or LEVEL[used] < LEVEL[home], f"{path}:{line}: {home} imports {used}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name in PURE], ids=name_of)
def test_engine_module_imports_no_effects(path: Path) -> None:
    for line, name in imported(path):
        assert name.split(".")[0] not in EFFECTS, f"{path}:{line}: {path.parent.name} imports {name}"


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_plugin_imports_only_the_plugin_api(path: Path) -> None:
    for line, name in imported(path):
        ours = name.split(".")[0] in ("tunproxy", "plugins")
        assert not ours or own(name) == "plugin", f"{path}:{line}: a plugin imports {name}"
