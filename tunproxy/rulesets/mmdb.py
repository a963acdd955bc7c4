"""MaxMind's databases (.mmdb) and sing-box's and mihomo's of the same make (.db, .metadb).

What an address's record is depends on the database's type:

    sing-geoip              "cn"
    Meta-geoip0             "cn" or ["cn", "cloudflare"]
    …-ASN and the like      {"autonomous_system_number": 13335} or {"asn": "AS13335"}
    all others, countries   {"country": {"iso_code": "CN"}} or {"country_code": "CN"}; "country": "CN"
"""

import os
from collections.abc import Callable
from typing import Final

import maxminddb

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.mmdb_tree import FAULTS, find_ranges
from tunproxy.rulesets.notes import broken

MAX_FILE: Final = 256 << 20  # our choice: twenty times the largest database in use


class Mmdb:
    """An open database. Looking up is quick and needs no memory; the file is mapped."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file; raises RuleError where it is missing or no database."""
        self.name = os.fspath(path)
        try:
            self._reader = maxminddb.open_database(self.name)
            self.kind = self._reader.metadata().database_type
        except FAULTS as error:
            raise broken(self.name, f"cannot open the database: {error}") from error

    def close(self) -> None:
        """Close the file; nothing else may be called afterwards."""
        self._reader.close()

    def codes(self, address: str) -> tuple[str, ...]:
        """Return country and other codes of an address, in lower case; none for what the database lacks."""
        return codes_of(self._record(address))

    def asn(self, address: str) -> int:
        """Return the number of the autonomous system of an address, 0 where the database has none."""
        return asn_of(self._record(address))

    def read(self, code: str) -> RuleSetContent:
        """Return all addresses with this code. Goes through the whole database: seconds for a large one."""
        wanted = code.strip().lower().removeprefix("!")
        return RuleSetContent(ranges=self._ranges(lambda record: wanted in codes_of(record)))

    def read_asn(self, number: int) -> RuleSetContent:
        """Return all addresses of an autonomous system; as slow as read."""
        return RuleSetContent(ranges=self._ranges(lambda record: asn_of(record) == number))

    def _ranges(self, wanted: Callable[[object], bool]) -> list[tuple[int, int, int]]:
        try:
            with open(self.name, "rb") as file:
                data = file.read(MAX_FILE + 1)
            if len(data) > MAX_FILE:
                raise broken(self.name, f"the file has more than {MAX_FILE} octets")
            return find_ranges(data, self._reader.metadata(), wanted)
        except FAULTS as error:
            raise broken(self.name, f"cannot read the database: {error}") from error

    def _record(self, address: str) -> object:
        try:
            return self._reader.get(address)
        except FAULTS as error:
            raise broken(self.name, f"cannot look up {address}: {error}") from error


def codes_of(record: object) -> tuple[str, ...]:
    """Return the codes that a record holds."""
    if isinstance(record, str):
        return (record.lower(),)
    if isinstance(record, list):
        return tuple(item.lower() for item in record if isinstance(item, str))
    if not isinstance(record, dict):
        return ()
    country = record.get("country")
    if isinstance(country, dict):
        country = country.get("iso_code")
    code = country or record.get("country_code")
    return (code.lower(),) if isinstance(code, str) and code else ()


def asn_of(record: object) -> int:
    """Return the autonomous system that a record holds, or 0."""
    if not isinstance(record, dict):
        return 0
    number = record.get("autonomous_system_number", record.get("asn", 0))
    if isinstance(number, int):
        return number
    digits = number.upper().removeprefix("AS") if isinstance(number, str) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else 0
