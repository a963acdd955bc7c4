"""The tree as if it were installed: what Python asks of a distribution, and where plugins have their name.

Tests of the sources then depend on nothing that ``make build`` has installed, now or long ago: they can
run before it, beside it, and after the list of plugins has changed.
"""

import contextlib
import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "tree"


def present_tree() -> Path:
    """Return a folder for the front of Python's path that has the tree as a distribution, and its plugins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    info = FOLDER / f"{name}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    points = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [
        line
        for group, entries in points.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), "")
    ]
    _replace(info / "entry_points.txt", "\n".join(lines))
    _replace(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    plugins = FOLDER / "tunproxy_plugins"
    with contextlib.suppress(FileExistsError):  # from a run before, or beside this one
        plugins.symlink_to(ROOT / "plugins")
    return FOLDER


def _replace(path: Path, text: str) -> None:
    """Write a file in one step, as others may be reading it."""
    other = path.with_name(f".{path.name}.{os.getpid()}")
    other.write_text(text)
    other.replace(path)
