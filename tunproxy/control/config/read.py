"""The text of a configuration becomes a ``Config``; ``{ env = … }`` and ``{ file = … }`` are looked up."""

import ast
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final  # Any as TOML has it

from msgspec import structs

from tunproxy.control.capture import CaptureOptions
from tunproxy.control.clash.listening import problem_of
from tunproxy.control.config import schema
from tunproxy.control.config.positions import Path as KeyPath
from tunproxy.control.config.problems import ConfigProblems, Problem, did_you_mean
from tunproxy.control.config.schema import Config, DeviceConfig, GroupConfig, Options, UpstreamConfig
from tunproxy.control.config.secrets import SecretError, file_of, is_reference, look_up
from tunproxy.control.config.shown import ShownLines
from tunproxy.control.config.tables import MISSING, Checker, Document, fields_of
from tunproxy.control.generations.checks import problem_with
from tunproxy.control.history.spans import problems_of as problems_of_history
from tunproxy.control.naming import dns_settings
from tunproxy.control.settings import UpSettings, with_device
from tunproxy.dns.checks import problems_of
from tunproxy.errors import ConfigError
from tunproxy.plugin.settings import PluginEntry, PluginSettings
from tunproxy.rules.model import Position
from tunproxy.secret import Secret
from tunproxy.upstream.option_file import is_file_option

# In these, each table of a name has a type of its own, whose options are checked when it is known.
OPEN: Final[Mapping[str, Any]] = {"upstreams": UpstreamConfig, "groups": GroupConfig}
BYTE_ORDER_MARK: Final = "\ufeff"
_WHERE: Final = re.compile(r"^(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)
_NAMES: Final = re.compile(r"\((?:'[^'\\]*'(?:, |,?(?=\))))+\)")  # of a table, as Python shows a tuple
_STRING: Final = " (a string ends in its line, with the quote that it began with)"
# what to do about what tomllib says
_HINTS: Final = {
    "unclosed array": " (a comma or ] is missing)",
    "invalid value": " (text stands in quotes)",
    "illegal character '\\n'": _STRING,
    'expected "\'"': _STRING,
    "cannot overwrite a value": " (a key is there twice)",
    "expected newline": " (each key has a line of its own, and text stands in quotes)",
}


@dataclass(frozen=True)
class Reading:
    """A configuration, the document it stands in, and the files that secrets were read from.

    option_files are those that options of upstreams name. contents has what the files of secrets held.
    problems is what is wrong, where the caller can do with what is good: config is without that. Tables at
    paths in unusable lack a secret, and have an empty one.
    """

    config: Config
    document: Document
    secret_files: tuple[Path, ...] = field(default=(), repr=False)
    option_files: tuple[Path, ...] = field(default=(), repr=False)
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()
    unusable: frozenset[KeyPath] = frozenset()


def read_config(
    data: bytes,
    name: str,
    folder: Path,
    environment: Mapping[str, str],
    contents: Mapping[str, bytes] | None = None,
    *,
    keeps_good: bool = False,
) -> Reading:
    """Return what data, the contents of a file called name in folder, says; raises ConfigProblems.

    contents has what files of secrets hold, where it is not to be read. With keeps_good, problems are part
    of what is returned, unless the text is no TOML, or it cannot be told which plugins may run.
    """
    text, tree = parse_toml(data, name)
    document = Document(name, text)
    reader = _Reader(document, folder, environment, contents or {})
    config = reader.config(tree)
    if reader.problems and not (keeps_good and reader.knows_plugins):
        raise ConfigProblems(reader.problems)
    secrets = tuple(reader.secret_files)
    held = {name: data for name, data in reader.contents.items() if Path(name) in secrets}
    return Reading(
        config,
        document,
        secrets,
        tuple(reader.option_files),
        held,
        tuple(reader.problems),
        frozenset(reader.unusable),
    )


def parse_toml(data: bytes, name: str) -> tuple[str, dict[str, Any]]:
    """Return the text and what TOML makes of it; raises ConfigProblems."""
    try:
        text = data.decode().removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        message = f"octet 0x{data[error.start]:02x} is not UTF-8 (save the file as UTF-8)"
        raise ConfigProblems([Problem(Position(name, line, column), message)]) from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        from tunproxy.rulesets.convert.detect import detect  # 16 ms, that only this needs

        whose = detect(data)
        hint = f" (it looks like a configuration of {whose}: see tunproxy convert)" if whose else ""
        raise ConfigProblems([_syntax_problem(str(error), text, name, hint)]) from None
    except RecursionError:
        raise ConfigProblems([Problem(Position(name, 1, 1), "nested too deeply")]) from None


def _syntax_problem(message: str, text: str, name: str, hint: str) -> Problem:
    lines = text.replace("\r\n", "\n").split("\n")
    found = _WHERE.match(message)
    words = _in_words(found[1] if found else message)
    if found is None or found[2] is None:  # the text ends too early: show its last line that says something
        number = max((at for at, each in enumerate(lines, 1) if each.strip()), default=1)
        place = Position(name, number, len(lines[number - 1]) + 1)
    else:
        place = Position(name, int(found[2]), int(found[3]))
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "\r" in line:
        hint = hint or " (lines end in LF, or in CRLF)"
    elif line[place.column - 1 : place.column].isalpha() or not words.startswith("invalid value"):
        hint = hint or next((each for start, each in _HINTS.items() if words.startswith(start)), "")
    shown, caret = ShownLines("\n".join(lines)).line(place.line, place.column)
    return Problem(place, f"not TOML: {words}{hint}", shown, caret)


def _in_words(message: str) -> str:
    """Return what tomllib says, with the names of tables as they are written."""
    words = _NAMES.sub(lambda found: f"[{'.'.join(map(str, ast.literal_eval(found[0])))}]", message)
    return f"{words[:1].lower()}{words[1:]}"


class _Reader(Checker):
    """Reads one document. What is wrong with a part of it hides nothing of what is wrong with the rest."""

    def __init__(
        self, document: Document, folder: Path, environment: Mapping[str, str], contents: Mapping[str, bytes]
    ) -> None:
        super().__init__(document, keeps_good=True, root=Config)
        self.contents: Final = dict(contents)
        self._folder: Final = folder
        self._environment: Final = environment
        self.secret_files: Final[list[Path]] = []
        self.option_files: Final[list[Path]] = []
        self.unusable: Final[set[KeyPath]] = set()
        self.knows_plugins = False

    def config(self, tree: Mapping[str, Any]) -> Config:
        """Return the whole, as far as it is good."""
        plain = {key: value for key, value in tree.items() if key not in ("plugins", *OPEN)}
        if isinstance(plain.get("api"), Mapping):
            plain["api"] = self._options(plain["api"], ("api",))  # which may say where its secret is
        made = self.make(Config, plain, ())
        open_tables = {key: self._open(kind, tree.get(key, {}), (key,)) for key, kind in OPEN.items()}
        before = len(self.problems)
        plugins = self._plugins(tree.get("plugins", {}))
        self.knows_plugins = len(self.problems) == before
        config: Config = structs.replace(made, **open_tables, plugins=plugins, **self._paths(made))
        self._check_rules_once(config, tree)
        for place, why in problems_of(dns_settings(config.dns)):
            self.complain(("dns", *place), why)
        self._check_device(config.device)
        if (wrong := problem_of(config.api)) is not None:
            self.complain(("api", wrong[0]), wrong[1])
        for key, why in problems_of_history(config.history):
            self.complain(("history", key), why)
        for place, why in CaptureOptions().over(config.capture).problems():
            self.complain(("capture", *place), why)
        self._check_names(config)
        if (bad := problem_with(config.apply.check)) is not None:
            self.complain(("apply", "check", bad[0]), bad[1])
        return config

    def _check_device(self, device: DeviceConfig) -> None:
        for key in fields_of(DeviceConfig):
            alone = structs.replace(DeviceConfig(), **{key.name: getattr(device, key.name)})
            try:
                with_device(UpSettings(), alone)
            except ConfigError as error:
                self.complain(("device", key.written), str(error))

    def _open(self, kind: Any, tables: Any, path: KeyPath) -> dict[str, Any]:
        """Return the tables below path: what every one has, and the rest as options."""
        if not isinstance(tables, Mapping):
            self.complain(path, f"expected a table for each name, such as [{path[0]}.work]")
            return {}
        known = {each.written for each in fields_of(kind)} - {"options"}
        found = {}
        for name, table in tables.items():
            here = (*path, name)
            if not isinstance(table, Mapping):
                self.complain(here, f"expected a table, such as [{path[0]}.{name}]")
                continue
            own: dict[str, Any] = {key: value for key, value in table.items() if key in known}
            rest = {key: value for key, value in table.items() if key not in known}
            options = Options(self._filed(self._options(rest, here)))
            made = self._with_options(kind, own, options, here)
            if made is not MISSING:
                found[name] = made
        return found

    def _with_options(self, kind: Any, own: Mapping[str, Any], options: Options, path: KeyPath) -> Any:
        values = {}
        for each in fields_of(kind):
            if each.name == "options":
                continue
            if each.written not in own:
                self.complain(path, f"{each.written!r} is missing", is_key=True)
                return MISSING
            values[each.name] = self.value(each.kind, own[each.written], (*path, each.written))
        if MISSING in values.values():
            return MISSING
        return kind(**values, options=options)

    def _options(self, table: Mapping[str, Any], path: KeyPath) -> Options:
        """Return the values of a table, with secrets in place of what says where they are."""
        found: dict[str, object] = {}
        for key, value in table.items():
            found[key] = value
            if isinstance(value, Mapping) and not is_reference(value):
                found[key] = self._options(value, (*path, key))
            if isinstance(value, list):
                found[key] = [
                    self._options(each, (*path, key, at)) if isinstance(each, Mapping) else each
                    for at, each in enumerate(value)
                ]
            if is_reference(value):
                where = value.get("file")
                if isinstance(where, str):
                    self.secret_files.append(file_of(where, self._folder))
                try:
                    found[key] = look_up(value, self._folder, self._environment, self.contents)
                except SecretError as error:
                    self.complain((*path, key, *value), str(error))
                    found[key] = Secret("")
                    self.unusable.add(path[:2])
        return Options(found)

    def _filed(self, table: Mapping[str, object]) -> dict[str, object]:
        """Return the options of an upstream, the paths among them absolute: as their keys tell."""
        found = dict(table)
        for key, value in table.items():
            if isinstance(value, Mapping):
                found[key] = self._filed(value)
            elif isinstance(value, list):
                found[key] = [self._filed(each) if isinstance(each, Mapping) else each for each in value]
            elif isinstance(value, str) and value and is_file_option(key):
                path = file_of(value, self._folder)
                self.option_files.append(path)
                found[key] = str(path)
        return found

    def _plugins(self, tables: Any) -> PluginSettings:
        path: KeyPath = ("plugins",)
        if not isinstance(tables, Mapping):
            self.complain(path, "expected a table")
            return PluginSettings()
        known = [each.written for each in fields_of(schema.PluginsConfig)]
        general = {key: value for key, value in tables.items() if key in known}
        made = self.make(schema.PluginsConfig, general, path)
        entries = {}
        for name, table in tables.items():
            if name in known:
                continue
            if not isinstance(table, Mapping):
                hint = did_you_mean(name, known)
                self.complain((*path, name), f"unknown key {name!r}{hint}", is_key=True)
                continue
            own = {key: value for key, value in table.items() if key in ("enabled", "priority")}
            rest = {key: value for key, value in table.items() if key not in own}
            entry = self.make(schema.PluginTable, own, (*path, name))
            options = self._options(rest, (*path, name))
            if entry is not MISSING:
                entries[name] = PluginEntry(entry.enabled, entry.priority, options)
        if made is MISSING:
            return PluginSettings()
        return PluginSettings(
            folder=file_of(made.folder, self._folder) if made.folder else None,
            allow=frozenset(made.allow) if made.allow is not None else None,
            deny=frozenset(made.deny),
            plugins=entries,
        )

    def _paths(self, config: Config) -> dict[str, Any]:
        """Return what has paths in it, each made absolute."""
        sets = {
            name: structs.replace(each, path=str(file_of(each.path, self._folder)))
            for name, each in config.rule_sets.items()
        }
        rules_file = str(file_of(config.rules_file, self._folder)) if config.rules_file else ""
        dns = structs.replace(
            config.dns,
            ca_file=str(file_of(config.dns.ca_file, self._folder)) if config.dns.ca_file else "",
            fake_ip_file=(
                str(file_of(config.dns.fake_ip_file, self._folder))
                if config.dns.fake_ip_file
                else config.dns.fake_ip_file
            ),
        )
        return {"rule_sets": sets, "rules_file": rules_file, "dns": dns}

    def _check_rules_once(self, config: Config, tree: Mapping[str, Any]) -> None:
        if config.rules_file and "rules" in tree:
            self.complain(("rules-file",), "there are rules as well (give one of the two)", is_key=True)

    def _check_names(self, config: Config) -> None:
        for name in config.groups:
            if name in config.upstreams:
                self.complain(("groups", name), f"there is an upstream {name!r} already", is_key=True)
        for kind in ("upstreams", "groups"):
            for name in getattr(config, kind):
                if not name or "," in name or name != name.strip():
                    why = "a name has letters, no comma, and no blanks around it: rules could not say it"
                    self.complain((kind, name), why, is_key=True)
