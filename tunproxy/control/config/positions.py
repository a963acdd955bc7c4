"""Where each key and value stands in a TOML document.

``tomllib`` reads documents but keeps no places, so this walks through the text once more. It is for texts
that ``tomllib`` has accepted: what is not allowed anyway is not looked for. A path is the keys and the
indexes of arrays that lead to a value, as in what ``tomllib`` returns: ``("upstreams", "work", "port")``.
"""

import re
import tomllib
from dataclasses import dataclass, field
from typing import Final

Path = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_BASIC: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL: Final = re.compile(r"'[^']*'")
_LONG_BASIC: Final = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL)
_LONG_LITERAL: Final = re.compile(r"'''.*?'{3,5}", re.DOTALL)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the text, counted from 1; of a string in quotes, exact says that its characters follow."""

    line: int
    column: int
    exact: bool = False


@dataclass(slots=True)
class Places:
    """keys has where the last key of each path stands, values where what it says begins."""

    keys: dict[Path, Spot] = field(default_factory=dict)
    values: dict[Path, Spot] = field(default_factory=dict)

    def key(self, path: Path) -> Spot:
        """Return where path's key stands, or else the nearest that it is part of."""
        while path and path not in self.keys:
            path = path[:-1]
        return self.keys.get(path, Spot(1, 1))

    def value(self, path: Path) -> Spot:
        """Return where path's value begins, or else as key does."""
        while path and path not in self.values and path not in self.keys:
            path = path[:-1]
        return self.values.get(path) or self.key(path)


def find_places(text: str) -> Places:
    """Return the places of everything in text, which ``tomllib`` has accepted."""
    # As tomllib does: its places are counted in lines that end in LF.
    return _Walk(text.replace("\r\n", "\n")).walk()


class _Walk:
    """One walk from the first character to the last."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.at = 0
        self.places: Final = Places()
        self.counts: Final[dict[Path, int]] = {}  # of tables in arrays ([[…]]), by the array's path
        self._line = 1
        self._line_at = 0
        self._counted_to = 0

    def walk(self) -> Places:
        table: Path = ()
        self._blank()
        while self.at < len(self.text):
            if self._skip("[["):
                table = self._header(is_array=True)
            elif self._skip("["):
                table = self._header(is_array=False)
            else:
                self._pair(table)
            self._blank()
        return self.places

    def _header(self, *, is_array: bool) -> Path:
        self._blank()
        names, spots = self._key()
        self._blank()
        self._skip("]]" if is_array else "]")
        path: Path = ()
        for number, (name, spot) in enumerate(zip(names, spots, strict=True)):
            path = (*path, name)
            self.places.keys.setdefault(path, spot)
            if path not in self.counts and not (is_array and number == len(names) - 1):
                continue
            if is_array and number == len(names) - 1:
                self.counts[path] = self.counts.get(path, -1) + 1
            path = (*path, self.counts[path])
            self.places.keys.setdefault(path, spot)
        return path

    def _pair(self, table: Path) -> None:
        """Walk over ``key = value``; dotted keys lead further down."""
        names, spots = self._key()
        path = table
        for name, spot in zip(names, spots, strict=True):
            path = (*path, name)
            self.places.keys.setdefault(path, spot)
        self._blank()
        self._skip("=")
        self._blank()
        self._value(path)

    def _key(self) -> tuple[list[str], list[Spot]]:
        names, spots = [], []
        while True:
            self._blank()
            spots.append(self._spot())
            names.append(self._key_part())
            self._blank()
            if not self._skip("."):
                return names, spots

    def _key_part(self) -> str:
        for pattern in (_BASIC, _LITERAL, _BARE):
            found = pattern.match(self.text, self.at)
            if found:
                self.at = found.end()
                quoted = pattern is not _BARE
                return str(tomllib.loads(f"k = {found[0]}")["k"]) if quoted else found[0]
        raise ValueError(f"no key at {self._spot()}")

    def _value(self, path: Path) -> None:
        spot = self._spot()
        self.places.values[path] = spot
        if self._skip("["):
            self._array(path)
        elif self._skip("{"):
            self._inline_table(path)
        else:
            for pattern in (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL, _SCALAR):
                found = pattern.match(self.text, self.at)
                if found:
                    self.at = found.end()
                    break
            else:
                raise ValueError(f"no value at {spot}")
            if pattern is _LITERAL or (pattern is _BASIC and "\\" not in found[0]):
                self.places.values[path] = Spot(spot.line, spot.column + 1, exact=True)

    def _array(self, path: Path) -> None:
        count = 0
        self._blank()
        while not self._skip("]"):
            self._value((*path, count))
            count += 1
            self._blank()
            self._skip(",")
            self._blank()

    def _inline_table(self, path: Path) -> None:
        self._blank()
        while not self._skip("}"):
            self._pair(path)
            self._blank()
            self._skip(",")
            self._blank()

    def _blank(self) -> None:
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _skip(self, token: str) -> bool:
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def _spot(self) -> Spot:
        breaks = self.text.count("\n", self._counted_to, self.at)
        if breaks:
            self._line += breaks
            self._line_at = self.text.rfind("\n", 0, self.at) + 1
        self._counted_to = self.at
        return Spot(self._line, self.at - self._line_at + 1)
