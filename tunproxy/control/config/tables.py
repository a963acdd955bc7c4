"""Checks tables against structs and dataclasses, field by field, so that no problem hides another."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal  # Any: fields of a struct that is only known when it runs

import msgspec

from tunproxy.control.config.positions import Path, Places, find_places
from tunproxy.control.config.problems import Problem, did_you_mean
from tunproxy.control.config.shown import ShownLines
from tunproxy.control.masking import without_logins
from tunproxy.errors import OptionError
from tunproxy.rules.model import Position
from tunproxy.secret import Secret
from tunproxy.upstream.option_file import OptionFile, option_file
from tunproxy.upstream.types import KINDS, in_words

MISSING: Final = object()


@dataclass(slots=True)
class Field:
    """A field under its name in the struct and in the file."""

    name: str
    written: str
    kind: Any
    required: bool


class Document:
    """A configuration's text, under the name that messages call it by."""

    def __init__(self, name: str, text: str, secrets: Sequence[str] = ()) -> None:
        """text is one that ``tomllib`` has accepted; secrets are some of its values that nobody may see."""
        self.name: Final = name
        self.shown: Final = ShownLines(text.replace("\r\n", "\n"), secrets)
        self.places: Final[Places] = find_places(text)

    @property
    def lines(self) -> list[str]:
        """The lines, secrets included."""
        return self.shown.lines

    def position_of(self, path: Path, *, is_key: bool = False) -> Position:
        """Return the position of path's value, or of its key."""
        spot = self.places.key(path) if is_key else self.places.value(path)
        return Position(self.name, spot.line, spot.column)

    def problem(self, path: Path, message: str, *, is_key: bool = False) -> Problem:
        """Return a problem with path's value, or with its key."""
        return self.at(self.position_of(path, is_key=is_key), message)

    def at(self, position: Position, message: str) -> Problem:
        """Return a problem at a position of this document; neither its line nor its message has a secret."""
        line, caret = self.shown.line(position.line, position.column)
        return Problem(position, without_logins(message), line, caret)


class Checker:
    """Checks the tables of one document; what is wrong is in problems.

    files are the contents of those that options name; what is not among them is read. With keeps_good what
    is made of a table has all of it that is good, so that more can be checked; a mistake is told either way.
    root is the struct of the whole document.
    """

    def __init__(
        self,
        document: Document,
        files: Mapping[str, bytes] | None = None,
        *,
        keeps_good: bool = False,
        root: type | None = None,
    ) -> None:
        fields = [] if root is None else fields_of(root)
        self._at_the_top: Final = frozenset(field.written for field in fields if not _is_table(field.kind))
        self._keeps_good: Final = keeps_good
        self.document: Final = document
        self.files: Final = files or {}
        self.problems: Final[list[Problem]] = []
        self._wrong: Final[list[Path]] = []

    def complain(self, path: Path, message: str, *, is_key: bool = False) -> None:
        """Add a problem."""
        self._wrong.append(path)
        self.problems.append(self.document.problem(path, message, is_key=is_key))

    def complain_of(self, error: OptionError, table: Path, message: str = "") -> None:
        """Add what is wrong with an option of a table, where it stands; message may replace the error's."""
        self.complain(self.place_of(error.path, table), message or str(error))

    def follows(self, error: OptionError, table: Path) -> bool:
        """Tell whether an option that is not there may be one of those that have been complained of."""
        is_there = self.place_of(error.path, table) != table
        return not is_there and any(path[: len(table)] == table != path for path in self._wrong)

    def place_of(self, option: Path, table: Path) -> Path:
        """Return the path of an option as it is written, or else of what is nearest to it: the table itself.

        What has its place in a table may be beside that, for short.
        """
        nearest = self._written(option, table)
        if len(nearest) < len(table) + len(option):
            beside = self._written(option[1:], table)
            if len(beside) > len(table):
                return beside
        return nearest

    def _written(self, option: Path, table: Path) -> Path:
        """Return as much of the path of an option as is there; keys may be written with hyphens."""
        path = table
        for part in option:
            spellings: list[str | int] = [part, part.replace("_", "-")] if isinstance(part, str) else [part]
            for each in spellings:
                if (*path, each) in self.document.places.keys or (*path, each) in self.document.places.values:
                    path = (*path, each)
                    break
            else:
                break
        return path

    def make(self, kind: Any, table: object, path: Path) -> Any:
        """Return an instance of the struct or dataclass kind; MISSING where that cannot be, with problems."""
        if not isinstance(table, Mapping):
            self.complain(path, f"expected a table, got {_called(table)}")
            return MISSING
        fields = fields_of(kind)
        by_key = {field.written: field for field in fields}
        if dataclasses.is_dataclass(kind):  # plugins' READMEs may write them as Python does
            by_key |= {field.name: field for field in fields}
        found: dict[str, Any] = {}
        is_good = True
        for key, value in table.items():
            field = by_key.get(key)
            if field is None:
                known = [each.written for each in fields]
                hint = self.elsewhere(fields, key, path) or did_you_mean(key, known)
                self.complain((*path, key), f"unknown key {key!r}{hint}", is_key=True)
                is_good = False
                continue
            checked = self.value(field.kind, value, (*path, key))
            if checked is MISSING:
                is_good = False
            else:
                found[field.name] = checked
        given = {by_key[key].name for key in table if key in by_key}
        for field in fields:
            if field.required and field.name not in given:
                self.complain(path, f"{field.written!r} is missing", is_key=True)
                is_good = False
        if not is_good and self._keeps_good:
            is_good = all(field.name in found for field in fields if field.required)
        return kind(**found) if is_good else MISSING

    def elsewhere(self, fields: Sequence[Field], key: str, path: Path) -> str:
        """Return a hint that a key belongs into a table within this one, or above all tables; "" for none."""
        if path and key in self._at_the_top:
            return f" (it is within [{'.'.join(map(str, path))}] here: write it above the first [table])"
        for field in fields:
            for kind in typing.get_args(field.kind) or (field.kind,):
                if is_struct(kind) and key in {each.written for each in fields_of(kind)}:
                    return f" (it is one of {field.written}: {field.written}.{key} = …)"
        return ""

    def value(self, kind: Any, value: object, path: Path) -> Any:
        """Return value as kind; MISSING, with problems, where it is none."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self._bounded(kind, self.value(arguments[0], value, path), path)
        if is_struct(kind):
            return self.make(kind, value, path)
        if origin is dict:
            return self._dict(arguments[1], value, path)
        if origin is tuple and isinstance(value, list):
            return self._tuple(arguments[0], value, path)
        if origin in (typing.Union, types.UnionType) and isinstance(value, list):
            for option in arguments:
                if typing.get_origin(option) is tuple:
                    return self.value(option, value, path)
        if origin in (typing.Union, types.UnionType) and isinstance(value, Mapping):
            for option in arguments:
                if is_struct(option):
                    return self.make(option, value, path)
        if origin is Literal and value not in arguments:
            known = [name for name in arguments if name]
            hint = did_you_mean(str(value), known)
            self.complain(path, f"{value!r} is none of the possible values{hint}")
            return MISSING
        try:
            return msgspec.convert(value, kind, dec_hook=self._decode)
        except msgspec.ValidationError as error:
            self.complain(path, worded(error))
            return MISSING

    def _bounded(self, kind: Any, checked: Any, path: Path) -> Any:
        """Return what was checked but for the bounds that kind has, which only numbers do."""
        if isinstance(checked, int | float):
            try:
                msgspec.convert(checked, kind)
            except msgspec.ValidationError as error:
                self.complain(path, worded(error))
                return MISSING
        return checked

    def _decode(self, kind: type, value: object) -> object:
        if kind is OptionFile and isinstance(value, str):
            return option_file(value, self.files)
        return _decode(kind, value)

    def _dict(self, kind: Any, value: object, path: Path) -> Any:
        if not isinstance(value, Mapping):
            self.complain(path, f"expected a table, got {_called(value)}")
            return MISSING
        found = {key: self.value(kind, each, (*path, key)) for key, each in value.items()}
        good = {key: each for key, each in found.items() if each is not MISSING}
        return found if len(good) == len(found) else good if self._keeps_good else MISSING

    def _tuple(self, kind: Any, values: Sequence[object], path: Path) -> Any:
        found = [self.value(kind, each, (*path, number)) for number, each in enumerate(values)]
        return MISSING if any(each is MISSING for each in found) else tuple(found)


def is_struct(kind: Any) -> bool:
    """Return whether kind is a struct, or a dataclass, whose fields are checked one by one."""
    return isinstance(kind, type) and (issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind))


def _is_table(kind: Any) -> bool:
    """Return whether what kind means is written as a table, or may be."""
    return is_struct(kind) or typing.get_origin(kind) is dict or any(map(is_struct, typing.get_args(kind)))


def fields_of(kind: Any) -> list[Field]:
    """Return the fields of a struct or a dataclass; those of dataclasses are written with hyphens too."""
    hints = typing.get_type_hints(kind, include_extras=True)
    if issubclass(kind, msgspec.Struct):
        return [
            Field(each.name, each.encode_name, hints[each.name], each.required)
            for each in msgspec.structs.fields(kind)
        ]
    return [
        Field(
            each.name,
            each.name.replace("_", "-"),
            hints[each.name],
            each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING,
        )
        for each in dataclasses.fields(kind)
        if each.init
    ]


def worded(error: msgspec.ValidationError) -> str:
    """Return the library's words in the form of ours."""
    words = in_words(str(error).partition(" - at `")[0])
    return words[:1].lower() + words[1:]


def _called(value: object) -> str:
    return KINDS.get(type(value).__name__, type(value).__name__)


def _decode(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, (str, Secret)):
        return value if isinstance(value, Secret) else Secret(value)
    raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
