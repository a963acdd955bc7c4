"""A plugin to begin with: its module, a test that passes, and what makes a package of them."""

from pathlib import Path
from typing import Final

from tunproxy.errors import ConfigError

_MODULE: Final = '''"""{name}: refuse what one should not reach.

In the configuration:

    [plugins.{name}]
    ports = [23]
"""

from dataclasses import dataclass

from tunproxy.plugin.api import REJECT, FlowInfo, Verdict, hookimpl


@dataclass(frozen=True)
class Options:
    """ports are those that nobody may go to."""

    ports: tuple[int, ...] = (23,)


@hookimpl
def contribute_options() -> type:
    return Options


@hookimpl
def decide_flow(info: FlowInfo, options: Options) -> Verdict | None:
    if info.target_port in options.ports:
        return Verdict(REJECT, "{name}", why=f"port {{info.target_port}} is closed here")
    return None
'''

_TEST: Final = '''"""Tests of {name}: no network, no rights, nothing that runs."""

from pathlib import Path

from tunproxy.testing import PluginRunner, make_flow

PLUGIN = Path(__file__).with_name("{name}.py")


def test_closed_port_is_refused() -> None:
    with PluginRunner(PLUGIN) as plugin:
        verdict = plugin.decide(make_flow("tcp", "10.0.0.2", "www.example.org:23"))
        assert verdict is not None
        assert verdict.why == "port 23 is closed here"


def test_other_ports_are_left_to_the_rules() -> None:
    with PluginRunner(PLUGIN) as plugin:
        assert plugin.decide(make_flow("tcp", "10.0.0.2", "www.example.org:443")) is None


def test_ports_are_an_option() -> None:
    with PluginRunner(PLUGIN, {{"ports": [443]}}) as plugin:
        assert plugin.decide(make_flow("tcp", "10.0.0.2", "www.example.org:443")) is not None
'''

_PROJECT: Final = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "tunproxy-{dashed}"
version = "0.1.0"
description = "A plugin for tunproxy"
requires-python = ">=3.11"
dependencies = ["tunproxy"]

[project.entry-points.tunproxy]
{name} = "{name}"

[tool.hatch.build.targets.wheel]
include = ["{name}.py"]
"""

_README: Final = """# {name}

A plugin for tunproxy that refuses flows to some ports.

    python -m pytest                        # try it
    tunproxy exec --plugin {name}.py -- sh    # use it as it is; it is loaded anew whenever it is saved
    pip install .                           # or install it beside tunproxy
"""


def write_project(name: str, folder: Path) -> list[Path]:
    """Write a plugin that can be installed into a new folder; return its files, the test last.

    Raises ConfigError where the folder exists or cannot be made; nothing is overwritten.
    """
    files = {
        "README.md": _README,
        "pyproject.toml": _PROJECT,
        f"{name}.py": _MODULE,
        f"test_{name}.py": _TEST,
    }
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(f"cannot make {folder}: it exists (choose another name)") from None
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {(error.strerror or str(error)).lower()}") from error
    return _write(name, folder, files)


def write_drop_in(name: str, folder: Path) -> list[Path]:
    """Write a plugin and its test into the folder of plugins; return the files, the test last.

    Raises ConfigError where there is such a plugin already, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {(error.strerror or str(error)).lower()}") from error
    return _write(name, folder, {f"{name}.py": _MODULE, f"test_{name}.py": _TEST})


def _write(name: str, folder: Path, files: dict[str, str]) -> list[Path]:
    for file in files:
        if (folder / file).exists():
            raise ConfigError(f"cannot write {folder / file}: it exists (choose another name)")
    paths = []
    for file, text in files.items():
        path = folder / file
        try:
            path.write_text(text.format(name=name, dashed=name.replace("_", "-")))
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
        paths.append(path)
    return paths
