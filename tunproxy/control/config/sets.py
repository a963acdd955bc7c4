"""Rule sets by the names that rules use: ``ads``, ``geosite:cn``, ``geoip:cn``, ``asn:13335``.

The last three are lists within one file: that of the first rule set of a format that has such lists. What is
read is remembered by its contents, so that a reload reads again only what has changed.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tunproxy.control.config.schema import RuleSetConfig
from tunproxy.rules.model import Position, RuleError, RuleSetContent
from tunproxy.rulesets.files import FORMATS, detect, parse_set
from tunproxy.rulesets.geoip import Geoip
from tunproxy.rulesets.geosite import Geosite
from tunproxy.rulesets.mmdb import Mmdb
from tunproxy.rulesets.notes import broken

GEOSITE: Final = "geosite"
GEOIP: Final = "geoip"
MMDB: Final = "mmdb"
_DATABASES: Final = (".mmdb", ".metadb", ".db")
_MMDB_MARK: Final = b"\xab\xcd\xefMaxMind.com"  # MaxMind DB format 2.0, "Metadata": before the end
_MARK_WITHIN: Final = 128 << 10

Key = tuple[str, ...]


class SetCache:
    """Contents of rule sets from one reload to the next; keep drops those that nobody used since."""

    def __init__(self) -> None:
        self._kept: dict[Key, RuleSetContent] = {}
        self._used: dict[Key, RuleSetContent] = {}

    def find(self, key: Key) -> RuleSetContent | None:
        """Return what was put in under key."""
        found = self._used.get(key) or self._kept.get(key)
        if found is not None:
            self._used[key] = found
        return found

    def put(self, key: Key, content: RuleSetContent) -> None:
        """Remember a content."""
        self._used[key] = content

    def keep(self) -> None:
        """Forget everything but what was found or put in since the last call."""
        self._kept, self._used = self._used, {}


class Sets:
    """The rule sets of one configuration."""

    def __init__(
        self, configs: Mapping[str, RuleSetConfig], files: Mapping[str, bytes], cache: SetCache
    ) -> None:
        """files has the contents by path."""
        self._configs: Final = configs
        self._files: Final = files
        self._cache: Final = cache
        self._digests: Final[dict[str, str]] = {}
        self._formats: Final = {
            name: each.format or _detect(files[each.path], each.path) for name, each in configs.items()
        }

    @property
    def names(self) -> list[str]:
        """The names for RULE-SET."""
        return list(self._configs)

    def load(self, name: str) -> RuleSetContent | None:
        """Return the set that rules call so, None where there is none; raises RuleError for a broken file."""
        if name in self._configs:
            config = self._configs[name]
            return self._read(config, self._formats[name], config.list)
        kind, colon, query = name.partition(":")
        if not colon:
            return None
        for label, config in self._configs.items():
            form = self._formats[label]
            if kind == GEOSITE and form == GEOSITE:
                return self._read(config, form, query)
            if kind == GEOIP and (form == GEOIP or (form == MMDB and not self._is_of_asns(config))):
                return self._read(config, form, query)
            if kind == "asn" and form == MMDB and self._is_of_asns(config):
                return self._read(config, "asn", query)
        return None

    def check(self, name: str) -> RuleSetContent | None:
        """Return what is in a set of RULE-SET; None for a file of lists none of which is named.

        Raises RuleError for a broken file.
        """
        config, form = self._configs[name], self._formats[name]
        data = self._files[config.path]
        if config.list or form not in (GEOSITE, GEOIP, MMDB):
            return self.load(name)
        if form == MMDB:
            self._is_of_asns(config)
        elif not (Geosite if form == GEOSITE else Geoip)(data, config.path).lists:
            raise broken(config.path, "there is no list in it")
        return None

    def why_none(self, name: str) -> str:
        """Return what to write so that rules may use name; "" for a set of RULE-SET."""
        formats = {
            GEOSITE: ("geosite.dat", GEOSITE),
            GEOIP: ("country.mmdb", MMDB),
            "asn": ("asn.mmdb", MMDB),
        }
        kind, colon, _ = name.partition(":")
        if not colon or kind not in formats:
            return ""
        file, form = formats[kind]
        return f'no rule set has such lists (add [rule-sets.{kind}] with path = "{file}", format = "{form}")'

    def _read(self, config: RuleSetConfig, form: str, query: str) -> RuleSetContent:
        path = config.path
        digest = self._digests.get(path)
        if digest is None:
            digest = self._digests[path] = hashlib.sha256(self._files[path]).hexdigest()
        key = (path, digest, form, config.behavior, query)
        content = self._cache.find(key)
        if content is None:
            content = self._parse(config, form, query)
            self._cache.put(key, content)
        return content

    def _parse(self, config: RuleSetConfig, form: str, query: str) -> RuleSetContent:
        data = self._files[config.path]
        if form == "asn":
            with _database(data, config.path) as database:
                return database.read_asn(int(query))
        if form == MMDB:
            with _database(data, config.path) as database:
                return database.read(query)
        return parse_set(data, config.path, form, config.behavior, query)

    def _is_of_asns(self, config: RuleSetConfig) -> bool:
        with _database(self._files[config.path], config.path) as database:
            return "asn" in database.kind.lower()


def _detect(data: bytes, name: str) -> str:
    """Return the format of a file that the configuration says nothing about."""
    if name.lower().endswith(_DATABASES) or _MMDB_MARK in data[-_MARK_WITHIN:]:
        return MMDB
    found = detect(data, name)
    return found if found in FORMATS else "text"


@contextmanager
def _database(data: bytes, name: str) -> Iterator[Mmdb]:
    """Open a database that is in memory; the library wants a path, so it gets one. Raises RuleError."""
    fd = os.memfd_create("mmdb")
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        database = Mmdb(f"/proc/self/fd/{fd}")
        try:
            yield database
        finally:
            database.close()
    except RuleError as error:
        raise RuleError(Position(name, 1, 1), error.message, error.suggestion) from error
    finally:
        os.close(fd)
