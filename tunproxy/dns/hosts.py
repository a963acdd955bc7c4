"""Names whose addresses the user has written down: in the configuration, or in a hosts file (hosts(5)).

In the configuration a name may be a pattern as Clash writes it: `*` is one label, `+.` in front a name and
all below it, `.` in front only those below. A name may also be an alias of another one.
"""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tunproxy.clock import Micros
from tunproxy.dns.labels import name_of
from tunproxy.dns.message import AAAA, HTTPS, PTR, SVCB, A, Answer
from tunproxy.dns.packing import records_answer
from tunproxy.dns.transport import is_address
from tunproxy.errors import ConfigError
from tunproxy.rules.domains import LabelTrie
from tunproxy.rules.numbers import NONE

# our choices
TTL: Final = 10  # seconds: what is edited is to take hold
CHECK_EVERY: Final[Micros] = 2_000_000  # how often we look whether the file has changed
HOSTS_FILE: Final = Path("/etc/hosts")

_LOCALHOST: Final = {"localhost": ("127.0.0.1", "::1"), "+.localhost": ("127.0.0.1", "::1")}  # RFC 6761 §6.3


class _Addresses:
    """Packed addresses of a name, by family, and the name it is an alias of, if it is one."""

    __slots__ = ("alias", "ipv4", "ipv6")

    def __init__(self, written: Sequence[str], alias: str = "") -> None:
        packed = [ipaddress.ip_address(address).packed for address in written]
        self.alias: Final = alias
        self.ipv4: Final = tuple(each for each in packed if len(each) == 4)
        self.ipv6: Final = tuple(each for each in packed if len(each) == 16)


class Hosts:
    """Answers from entries, and from the file at path as it is now; entries come first.

    Raises ConfigError for an entry that is neither addresses nor a name. A broken line of the file is left
    out, and a file that is not there is empty.
    """

    def __init__(
        self, entries: Mapping[str, str | Sequence[str]] | None = None, path: Path | None = None
    ) -> None:
        self._exact: Final[dict[str, _Addresses]] = {}
        self._patterns: Final = LabelTrie()
        self._of_pattern: Final[list[_Addresses]] = []
        self._names: Final[dict[str, str]] = {}  # by the name that is asked for an address: PTR
        written = {**_LOCALHOST, **(entries or {})}
        # The more labels a pattern has, the more it says: the lowest number wins.
        for pattern in sorted(written, key=lambda each: -each.count(".") * 2 - (not each.startswith("+"))):
            self._add(pattern, written[pattern])
        self._path: Final = path
        self._stamp: tuple[int, int, int] | None = None
        self._check_at: Micros = -1
        self._is_fresh = False  # read anew, and nobody has been told
        self._of_file: dict[str, _Addresses] = {}
        self._names_of_file: dict[str, str] = {}

    def answer(self, host: str, kind: int, now: Micros) -> Answer | None:
        """Return the answer about host, None where it is not ours to give."""
        if kind == PTR:
            return self._pointer(host, now)
        found = self._find(host, now)
        if found is None or found.alias:
            return None
        if kind == A:
            return records_answer(A, TTL, list(found.ipv4), found.ipv4)
        if kind == AAAA:
            return records_answer(AAAA, TTL, list(found.ipv6), found.ipv6)
        if kind == HTTPS or kind == SVCB:  # they may name other addresses
            return records_answer(kind, TTL, [])
        return None

    def has_changed(self, now: Micros) -> bool:
        """Tell whether the file says something else than the last time that somebody asked for this."""
        if self._path is None:
            return False
        self._refresh(now)
        changed, self._is_fresh = self._is_fresh, False
        return changed

    def alias(self, host: str, now: Micros) -> str:
        """Return the name that host is an alias of, "" for none."""
        found = self._find(host, now)
        return found.alias if found is not None else ""

    def _find(self, host: str, now: Micros) -> _Addresses | None:
        found = self._exact.get(host)
        if found is not None:
            return found
        number = self._patterns.next(host, 0)
        if number != NONE:
            return self._of_pattern[number]
        if self._path is not None:
            self._refresh(now)
            return self._of_file.get(host)
        return None

    def _pointer(self, host: str, now: Micros) -> Answer | None:
        name = self._names.get(host)
        if name is None and self._path is not None:
            self._refresh(now)
            name = self._names_of_file.get(host)
        return records_answer(PTR, TTL, [name_of(name)]) if name is not None else None

    def _add(self, pattern: str, value: str | Sequence[str]) -> None:
        values = [value] if isinstance(value, str) else list(value)
        name = pattern.lower().rstrip(".")
        try:
            name_of(name.removeprefix("+").removeprefix("."))
            if len(values) == 1 and not is_address(values[0]):
                name_of(values[0])
                if values[0].rstrip(".").rpartition(".")[2].isdecimal():
                    raise ValueError(f"{values[0]!r} is neither an address nor a name")
                found = _Addresses((), values[0].lower().rstrip("."))
            else:
                found = _Addresses(values)
        except ValueError as error:
            raise ConfigError(f"hosts entry {pattern!r}: {error} (write addresses, or one name)") from error
        if name == found.alias:
            raise ConfigError(f"hosts entry {pattern!r}: it is an alias of itself")
        if "*" in name or name.startswith(("+", ".")):
            self._patterns.add(name, len(self._of_pattern))
            self._of_pattern.append(found)
            return
        self._exact[name] = found
        for address in (*found.ipv4, *found.ipv6):
            self._names.setdefault(pointer_name(address), name)

    def _refresh(self, now: Micros) -> None:
        """Read the file again if it has changed."""
        if self._path is None or now < self._check_at:
            return
        self._check_at = now + CHECK_EVERY
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text(errors="replace")
        except OSError:
            stamp, text = None, ""
        if stamp is None and self._stamp is None:
            return
        self._stamp = stamp
        self._is_fresh = True
        self._of_file, self._names_of_file = _read(text)


def _read(text: str) -> tuple[dict[str, _Addresses], dict[str, str]]:
    """Return a hosts file's addresses by name, and its names by the name that is asked for an address."""
    written: dict[str, list[str]] = {}
    pointers: dict[str, str] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            packed = ipaddress.ip_address(address).packed
            for name in names:
                name_of(name)
        except ValueError:
            continue
        for name in names:
            written.setdefault(name.lower().rstrip("."), []).append(address)
        if names:
            pointers.setdefault(pointer_name(packed), names[0].lower().rstrip("."))
    return {name: _Addresses(list(dict.fromkeys(found))) for name, found in written.items()}, pointers


def pointer_name(address: bytes) -> str:
    """Return the name that is asked for the name of a packed address (RFC 1035 §3.5, RFC 3596 §2.5)."""
    return ipaddress.ip_address(address).reverse_pointer
