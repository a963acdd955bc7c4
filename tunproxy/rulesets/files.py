"""Rule-set files: open them, find out what they are, read them. No other module but mmdb opens files."""

import errno
import os
import stat
from collections.abc import Iterator
from io import FileIO
from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.adguard import read_adguard
from tunproxy.rulesets.behaviors import CLASSICAL
from tunproxy.rulesets.clash_text import read_text
from tunproxy.rulesets.clash_yaml import read_yaml
from tunproxy.rulesets.geoip import Geoip
from tunproxy.rulesets.geosite import Geosite
from tunproxy.rulesets.hosts import is_address, read_hosts
from tunproxy.rulesets.mmdb import Mmdb
from tunproxy.rulesets.mrs import read_mrs
from tunproxy.rulesets.notes import broken
from tunproxy.rulesets.sing_json import read_sing_json
from tunproxy.rulesets.srs import MAGIC as SRS_MAGIC
from tunproxy.rulesets.srs import read_srs

MAX_FILE: Final = 256 << 20  # our choice: ten times the largest set in use
PART: Final = 1 << 20  # octets that are read at once
BEGINNING: Final = 65_536  # octets that tell a text's format
DATABASES: Final = (".mmdb", ".metadb", ".db")

FORMATS: Final = ("yaml", "text", "mrs", "json", "srs", "geosite", "geoip", "mmdb", "hosts", "adguard")
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"  # RFC 8878 §3.1.1
_ENDINGS: Final = {
    ".yaml": "yaml", ".yml": "yaml", ".txt": "text", ".list": "text", ".mrs": "mrs", ".json": "json",
    ".srs": "srs", ".mmdb": "mmdb", ".metadb": "mmdb", ".db": "mmdb",
}  # fmt: skip


def read_set(
    path: str | os.PathLike[str], form: str = "", behavior: str = CLASSICAL, query: str = ""
) -> RuleSetContent:
    """Return the set in a file.

    form is one of FORMATS, or "": then content and ending of the file tell. behavior is about yaml, text and
    mrs. query is the list of a geosite or geoip file or the country of a database. Raises RuleError.
    """
    name = os.fspath(path)
    if form and form not in FORMATS:
        raise broken(name, f"unknown format {form!r} (known: {', '.join(FORMATS)})")
    if form == "mmdb" or (not form and os.path.splitext(name)[1].lower() in DATABASES):
        database = Mmdb(path)
        try:
            return database.read(query)
        finally:
            database.close()
    data = read_octets(path)
    return parse_set(data, name, form or detect(data, name), behavior, query)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format of a file as ``read_set`` would tell it, "" for one that cannot be read."""
    name = os.fspath(path)
    if os.path.splitext(name)[1].lower() in DATABASES:
        return "mmdb"
    try:
        with open(path, "rb") as file:
            return detect(file.read(BEGINNING), name)
    except OSError:
        return ""


def parse_set(
    data: bytes, name: str, form: str, behavior: str = CLASSICAL, query: str = ""
) -> RuleSetContent:
    """Return the set that data, of one of FORMATS but mmdb, holds; raises RuleError."""
    if form == "yaml":
        return read_yaml(data, behavior, name)
    if form == "text":
        return read_text(data, behavior, name)
    if form == "mrs":
        return read_mrs(data, name, "" if behavior == CLASSICAL else behavior)
    if form == "json":
        return read_sing_json(data, name)
    if form == "srs":
        return read_srs(data, name)
    if form == "geosite":
        return Geosite(data, name).read(query)
    if form == "geoip":
        return Geoip(data, name).read(query)
    if form == "hosts":
        return read_hosts(data, name)
    if form == "adguard":
        return read_adguard(data, name)
    raise broken(name, f"unknown format {form!r} (known: {', '.join(FORMATS)})")


def read_octets(path: str | os.PathLike[str]) -> bytes:
    """Return what a file holds; raises RuleError where it cannot be read or is larger than MAX_FILE."""
    name = os.fspath(path)
    try:
        data = read_up_to(path, MAX_FILE + 1)
    except OSError as error:
        raise broken(name, f"cannot read the file: {(error.strerror or str(error)).lower()}") from error
    if len(data) > MAX_FILE:
        raise broken(name, f"the file has more than {MAX_FILE} octets")
    return data


def read_up_to(path: str | os.PathLike[str], most: int) -> bytes:
    """Return what a file holds, most octets of it at most; raises OSError.

    It may be a pipe, as a shell's ``<(command)`` is. One that nobody writes to is an error: whoever waited
    for that would wait for ever, and a reload with him.
    """
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        first = file.read(min(PART, most)) if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode) else None
        if first == b"":
            raise OSError(errno.EPIPE, "it is a pipe that nobody writes to", os.fspath(path))
        os.set_blocking(file.fileno(), True)
        return b"".join(_parts(file, first or b"", most))


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _parts(file: FileIO, first: bytes, most: int) -> Iterator[bytes]:
    """Yield first and what comes behind it, until that is enough; room is made for what is there only."""
    part, left = first, most
    if part:
        yield part
    while left > len(part):
        left -= len(part)
        part = file.read(min(PART, left)) or b""
        if not part:
            return
        yield part


def detect(data: bytes, name: str) -> str:
    """Return the format of data, by its first octets, then by the ending of name, then by its first lines."""
    if data.startswith(SRS_MAGIC):
        return "srs"
    if data.startswith(_ZSTD_MAGIC):
        return "mrs"
    base = os.path.basename(name).lower()
    if base.endswith(".dat"):
        return "geosite" if "site" in base else "geoip"
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return "json"
    ending = os.path.splitext(base)[1]
    found = _ENDINGS.get(ending, "")
    if found not in ("", "text"):
        return found
    if base == "hosts":
        return "hosts"
    return _detect_text(data[:BEGINNING].decode("utf-8", "replace")) or found or "text"


def _detect_text(text: str) -> str:
    """Return what the first lines look like, "" for a plain list."""
    for line in text.splitlines():
        word = line.strip()
        if word.startswith(("payload:", "rules:")):
            return "yaml"
        if word.startswith(("||", "@@", "! ", "[Adblock", "[AdGuard")):
            return "adguard"
        words = word.split()
        if len(words) > 1 and is_address(words[0]):
            return "hosts"
    return ""
