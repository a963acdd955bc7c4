"""Everything that a policy is made from, read from where it is: no file is needed after this.

The supervisor reads, with the rights of the user who started it. The worker, who may have given these up,
gets the whole as one object: by fork when it starts, through a file in memory when it reloads.
"""

import contextlib
import dataclasses
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import structs

from tunproxy.control.config.positions import Path as KeyPath
from tunproxy.control.config.problems import ConfigProblems, Problem
from tunproxy.control.config.read import Reading, read_config
from tunproxy.control.config.schema import DIRECT, Config
from tunproxy.control.config.search import find_config
from tunproxy.control.config.tables import Document
from tunproxy.control.settings import PolicyOptions as PolicyOptions
from tunproxy.errors import ConfigError
from tunproxy.plugin.discovery import PluginFile, read_files
from tunproxy.plugin.settings import PluginSettings, default_folder
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.files import read_octets
from tunproxy.secret import Secret
from tunproxy.upstream.option_file import read_option_file
from tunproxy.upstream.types import files_in

NO_FILE: Final = "built-in configuration"
MEMORY_FILE: Final = "tunproxy policy"

Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Sources:
    """A configuration, and the contents of the files that it names, by their paths.

    rules is the rule file's path, "" for the rules of the configuration itself. plugin_files
    are those of the folder and those that the command line names. paths are all files that were looked at:
    when one of them changes, it is time to read again. stamps has their ``stamp_of`` from before that.
    read has the octets of the configuration itself, and of files that its secrets are in.

    problems is what is wrong already, where that was asked for: building on this only finds the rest. missing
    are the names of rule sets whose files are, unusable the paths of tables that lack a secret.
    """

    config: Config
    document: Document
    rules: str = ""
    upstream: Secret = Secret("")  # noqa: RUF009
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    plugin_files: tuple[PluginFile, ...] = field(default=(), repr=False)
    paths: tuple[Path, ...] = ()
    stamps: Mapping[Path, Stamp] = field(default_factory=dict, repr=False)
    read: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()
    missing: frozenset[str] = frozenset()
    unusable: frozenset[KeyPath] = frozenset()

    @property
    def name(self) -> str:
        """What to call it: the configuration's path, or what stands in its place."""
        return self.document.name or NO_FILE


@dataclass(frozen=True)
class Kept:
    """What stands for files on disk: contents by path, and all plugins' files. config is "" for none."""

    config: str
    files: Mapping[str, bytes] = field(repr=False)
    plugin_files: tuple[PluginFile, ...] = field(default=(), repr=False)

    def octets(self, path: str) -> bytes:
        """Return what a file holds, from disk where nothing stands for it; raises RuleError."""
        found = self.files.get(path)
        return read_octets(path) if found is None else found


def read_sources(
    options: PolicyOptions,
    environment: Mapping[str, str] = os.environ,
    kept: Kept | None = None,
    *,
    keeps_good: bool = False,
) -> Sources:
    """Return what the user's files say; raises ConfigError, as ConfigProblems where a place can be told.

    With kept it is what they said then. keeps_good is for who builds a policy at once, which raises with all
    that is wrong: then problems with a place are left for that.
    """
    if kept is not None:
        path = Path(kept.config) if kept.config else None
    else:
        path = _config_path(options, environment)
    octets_of = read_octets if kept is None else kept.octets
    stamps = {path.absolute(): stamp_of(path)} if path is not None else {}
    data = _octets(path, octets_of) if path is not None else b""
    contents = kept.files if kept is not None else None
    reading = _reading(path, data, environment, contents, keeps_good=True)
    read = {**reading.contents, **({str(path.absolute()): data} if path is not None else {})}
    config = _with_plugins(reading.config, options, environment)
    rules = str(Path(options.rules).absolute()) if options.rules else config.rules_file
    problems = list(reading.problems)
    missing: set[str] = set()
    files: dict[str, bytes] = {}
    for name, each in config.rule_sets.items():
        stamps[Path(each.path)] = stamp_of(each.path)
        try:
            files.setdefault(each.path, b"")
            files[each.path] = files[each.path] or octets_of(each.path)
        except RuleError as error:
            is_fetched = each.url and stamps[Path(each.path)] is None
            hint = f" (tunproxy rules update {name} downloads it)" if is_fetched else ""
            message = f"{each.path}: {error.message}{hint}"
            problems.append(reading.document.problem(("rule-sets", name, "path"), message))
            missing.add(name)
    if rules:
        stamps[Path(rules)] = stamp_of(rules)
        try:
            files[rules] = octets_of(rules)
        except RuleError as error:
            if options.rules:
                raise ConfigError(f"cannot read {options.rules}: {_reason(error)}") from error
            problems.append(reading.document.problem(("rules-file",), f"{rules}: {error.message}"))
            rules = ""
    option_files = [*reading.option_files, *map(Path, files_in(options.upstream.reveal()))]
    for option_file in option_files:
        stamps[option_file] = stamp_of(option_file)
        if kept is not None and str(option_file) in kept.files:
            files[str(option_file)] = kept.files[str(option_file)]
            continue
        with contextlib.suppress(ValueError):  # whoever wants it tries again, and tells its place
            files[str(option_file)] = read_option_file(str(option_file)).data
    if problems and not keeps_good:
        raise ConfigProblems(problems)
    plugin_files = read_files(config.plugins) if kept is None else kept.plugin_files
    paths = [path.absolute()] if path is not None else []
    paths += [
        *map(Path, files),
        *reading.secret_files,
        *option_files,
        *(each.path for each in plugin_files),
    ]
    stamps |= {each: stamp_of(each) for each in paths if each not in stamps}
    return Sources(
        config,
        reading.document,
        rules,
        options.upstream,
        files,
        plugin_files,
        tuple(dict.fromkeys(paths)),
        stamps,
        read,
        tuple(problems),
        frozenset(missing),
        reading.unusable,
    )


def stamp_of(path: str | Path) -> Stamp:
    """Return what is another once a file has been saved or replaced; None for one that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def plugin_settings(options: PolicyOptions, environment: Mapping[str, str] = os.environ) -> PluginSettings:
    """Return what the user says of plugins; raises ConfigError, as read_sources does."""
    path = _config_path(options, environment)
    reading = _reading(path, _octets(path) if path is not None else b"", environment)
    return _with_plugins(reading.config, options, environment).plugins


def read_alone(options: PolicyOptions, environment: Mapping[str, str] = os.environ) -> Config:
    """Return what the configuration itself says, whether the files that it names are there or not.

    Raises ConfigError, as read_sources does, also where there is no configuration.
    """
    path = _config_path(options, environment)
    if path is None:
        raise ConfigError("there is no configuration (name one: --config FILE)")
    return _reading(path, _octets(path), environment).config


def default_of(sources: Sources, upstream: str) -> str:
    """Return the target of what rules leave; upstream is the name of the one that the command line gave."""
    return upstream if sources.upstream else sources.config.default or DIRECT


def into_memory(sources: Sources) -> int:
    """Return a descriptor of a file in memory that holds sources; the caller closes it."""
    fd = os.memfd_create(MEMORY_FILE)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            pickle.dump(sources, file, protocol=5)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def from_memory(fd: int) -> Sources:
    """Return what into_memory has put into a file, and close it.

    For the worker only: whoever can write to that file can have it do anything.
    """
    with os.fdopen(fd, "rb") as file:
        sources = pickle.load(file)
    assert isinstance(sources, Sources)
    return sources


def _reading(
    path: Path | None,
    data: bytes,
    environment: Mapping[str, str],
    contents: Mapping[str, bytes] | None = None,
    *,
    keeps_good: bool = False,
) -> Reading:
    """Return the configuration at path, which holds data; None where there is none."""
    if path is None:
        return Reading(Config(), Document("", ""))
    folder = path.absolute().parent
    return read_config(data, str(path), folder, environment, contents, keeps_good=keeps_good)


def _with_plugins(config: Config, options: PolicyOptions, environment: Mapping[str, str]) -> Config:
    """Return config with the folder where plugins are unless it names one, and with those files."""
    settings = dataclasses.replace(
        config.plugins,
        folder=config.plugins.folder or default_folder(environment),
        files=tuple(Path(os.path.abspath(path)) for path in options.plugins),
    )
    return structs.replace(config, plugins=settings)


def _config_path(options: PolicyOptions, environment: Mapping[str, str]) -> Path | None:
    if options.config:
        return Path(options.config)
    return None if options.upstream else find_config(environment)


def _octets(path: Path, octets_of: Callable[[str], bytes] = read_octets) -> bytes:
    try:
        return octets_of(str(path))
    except RuleError as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from error


def _reason(error: RuleError) -> str:
    reason = error.message.removeprefix("cannot read the file: ")
    return reason[:1].lower() + reason[1:]
