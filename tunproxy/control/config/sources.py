"""Everything that a policy is made from, read from where it is: no file is needed after this.

The supervisor reads, with the rights of the user who started it. The worker, who may have given these up,
gets the whole as one object: by fork when it starts, through a file in memory when it reloads.
"""

import contextlib
import dataclasses
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import structs

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
    """

    config: Config
    document: Document
    rules: str = ""
    upstream: Secret = Secret("")  # noqa: RUF009
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    plugin_files: tuple[PluginFile, ...] = field(default=(), repr=False)
    paths: tuple[Path, ...] = ()
    stamps: Mapping[Path, Stamp] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """What to call it: the configuration's path, or what stands in its place."""
        return self.document.name or NO_FILE


def read_sources(options: PolicyOptions, environment: Mapping[str, str] = os.environ) -> Sources:
    """Return what the user's files say; raises ConfigError, as ConfigProblems where a place can be told."""
    known = _config_path(options, environment)
    stamps = {known.absolute(): stamp_of(known)} if known is not None else {}
    path, reading = _reading(options, environment)
    config = _with_plugins(reading.config, options, environment)
    rules = str(Path(options.rules).absolute()) if options.rules else config.rules_file
    problems: list[Problem] = []
    files: dict[str, bytes] = {}
    for name, each in config.rule_sets.items():
        stamps[Path(each.path)] = stamp_of(each.path)
        try:
            files.setdefault(each.path, b"")
            files[each.path] = files[each.path] or read_octets(each.path)
        except RuleError as error:
            message = f"{each.path}: {error.message}"
            problems.append(reading.document.problem(("rule-sets", name, "path"), message))
    if rules:
        stamps[Path(rules)] = stamp_of(rules)
        try:
            files[rules] = read_octets(rules)
        except RuleError as error:
            if options.rules:
                raise ConfigError(f"cannot read {options.rules}: {_reason(error)}") from error
            problems.append(reading.document.problem(("rules-file",), f"{rules}: {error.message}"))
    option_files = [*reading.option_files, *map(Path, files_in(options.upstream.reveal()))]
    for option_file in option_files:
        stamps[option_file] = stamp_of(option_file)
        with contextlib.suppress(ValueError):  # whoever wants it tries again, and tells its place
            files[str(option_file)] = read_option_file(str(option_file)).data
    if problems:
        raise ConfigProblems(problems)
    plugin_files = read_files(config.plugins)
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
    return _with_plugins(_reading(options, environment)[1].config, options, environment).plugins


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


def _reading(options: PolicyOptions, environment: Mapping[str, str]) -> tuple[Path | None, Reading]:
    """Return the configuration, and its path, None where there is none."""
    path = _config_path(options, environment)
    if path is None:
        return None, Reading(Config(), Document("", ""))
    return path, read_config(_octets(path), str(path), path.absolute().parent, environment)


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


def _octets(path: Path) -> bytes:
    try:
        return read_octets(path)
    except RuleError as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from error


def _reason(error: RuleError) -> str:
    reason = error.message.removeprefix("cannot read the file: ")
    return reason[:1].lower() + reason[1:]
