"""Where plugins are: entry points of installed distributions, a folder of files, files that are named."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Final

from tunproxy.errors import ConfigError
from tunproxy.plugin.hookspecs import PROJECT
from tunproxy.plugin.settings import PluginSettings

INSTALLED: Final = "installed"
FOLDER: Final = "folder"
FILE: Final = "file"

_numbers: Final = itertools.count(1)  # of modules from files: each version is a module of its own


@dataclass(frozen=True)
class Found:
    """A plugin that has not been imported yet.

    kind is "installed", "folder" or "file"; source says where for people, path where it is one file. why_not
    says why it is not to be loaded, "" where it is.
    """

    name: str
    kind: str
    source: str
    load: Callable[[], object]
    path: Path | None = None
    why_not: str = ""
    group: str = PROJECT  # of entry points


@dataclass(frozen=True)
class PluginFile:
    """A plugin's file as it was read; kind is "folder" or "file". Without data it could not be."""

    path: Path
    kind: str
    data: bytes | None


def find_plugins(
    settings: PluginSettings, group: str = PROJECT, files: Sequence[PluginFile] | None = None
) -> list[Found]:
    """Return all plugins there are, in the order in which they are registered.

    Installed ones come first, in order of name, then the folder's, then named files in the order of their
    naming. files is what was read beforehand (``read_files``); without it files are read when they are
    loaded. Raises ConfigError for a named file that is not there.
    """
    if files is not None:
        return [*find_installed(settings, group), *find_in_files(settings, files)]
    return [
        *find_installed(settings, group),
        *find_in_folder(settings),
        *(find_file(path) for path in settings.files),
    ]


def read_files(settings: PluginSettings) -> tuple[PluginFile, ...]:
    """Return the files of the folder and those that are named, read; raises ConfigError for a named one.

    Those of the folder that the user does not want are not read.
    """
    found = [PluginFile(path, FOLDER, _data(path, settings)) for path in folder_files(settings)]
    for path in settings.files:
        try:
            found.append(PluginFile(path.absolute(), FILE, path.read_bytes()))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"cannot load plugin {str(path)!r}: {reason}") from error
    return tuple(found)


def find_in_files(settings: PluginSettings, files: Iterable[PluginFile]) -> list[Found]:
    """Return the plugins in files that were read beforehand."""
    return [
        _file(
            each.path, each.kind, settings.why_not(each.path.stem) if each.kind == FOLDER else "", each.data
        )
        for each in files
    ]


def find_installed(settings: PluginSettings, group: str = PROJECT) -> list[Found]:
    """Return what installed distributions name in their entry points, each name once.

    What is in the group ``tunproxy.optional`` is loaded only where the configuration has a table for it, or
    plugins.allow names it: it costs something for each flow, and not everybody wants that.
    """
    found: dict[str, Found] = {}
    for each in (group, f"{group}.optional"):
        for entry in sorted(metadata.entry_points(group=each), key=lambda entry: entry.name):
            name = entry.name
            if name in found:  # the same distribution may be found twice on the path
                continue
            why_not = settings.why_not(name)
            if not why_not and each != group and not settings.is_wanted(name):
                why_not = f"not turned on ([plugins.{name}])"
            source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
            found[name] = Found(name, INSTALLED, source, entry.load, why_not=why_not, group=group)
    return sorted(found.values(), key=lambda each: each.name)


def find_in_folder(settings: PluginSettings) -> list[Found]:
    """Return the files of the folder, in order of name; none where there is no folder we may read."""
    return [_file(path, FOLDER, settings.why_not(path.stem)) for path in folder_files(settings)]


def folder_files(settings: PluginSettings) -> list[Path]:
    """Return the paths of the folder's plugins, in order of name; none where there is no folder we may read.

    What the user names besides is left out: it is not there twice.
    """
    if settings.folder is None:
        return []
    named = {path.absolute() for path in settings.files}
    with contextlib.suppress(OSError):
        found = [path for path in settings.folder.glob("*.py") if is_plugin_file(path)]
        return sorted(path for path in found if path.absolute() not in named)
    return []


def find_file(path: Path) -> Found:
    """Return the plugin in a file that the user named. Raises ConfigError where there is no such file."""
    if not path.is_file():
        raise ConfigError(f"cannot load plugin {str(path)!r}: no such file")
    return _file(path.absolute(), FILE, "")


def is_plugin_file(path: Path) -> bool:
    """Tell whether a file of the folder is a plugin: neither hidden, nor private, nor a test."""
    return (
        path.suffix == ".py"
        and not path.name.startswith((".", "_", "test_"))
        and path.name != "conftest.py"
        and not path.is_dir()
    )


def load_file(path: Path, data: bytes | None = None) -> ModuleType:
    """Run the file and return it as a new module, whatever was loaded from it before. Raises what it raises.

    data is what stands in it, where that was read before.
    The source is compiled anew each time: cached byte code is told apart by seconds and size, and two saves
    within a second may have the same. Nothing is written beside the file.
    """
    name = f"tunproxy_plugin_{next(_numbers)}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    code = compile(path.read_bytes() if data is None else data, str(path), "exec", dont_inherit=True)
    sys.modules[name] = module  # dataclasses and type hints look their module up by name
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _data(path: Path, settings: PluginSettings) -> bytes | None:
    with contextlib.suppress(OSError):  # whoever loads it says what is wrong
        return None if settings.why_not(path.stem) else path.read_bytes()
    return None


def _file(path: Path, kind: str, why_not: str, data: bytes | None = None) -> Found:
    return Found(path.stem, kind, str(path), lambda: load_file(path, data), path, why_not)
