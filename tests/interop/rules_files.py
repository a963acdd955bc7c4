"""What a world's lists refer to, as files that both sides read: geodata, databases, rule sets."""

import ipaddress
import json
from pathlib import Path

from tests.interop.rules_random import MARKS, World
from tests.unit.rulesets.mmdb_maker import make_mmdb
from tests.unit.rulesets.programs import mihomo
from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.files import read_set
from tunproxy.rulesets.geosite import Geosite
from tunproxy.rulesets.mmdb import Mmdb

FORMATS = ("yaml", "text", "mrs")


def varint(number: int) -> bytes:
    """Return a number as protocol buffers have it."""
    octets = b""
    while number > 127:
        octets += bytes([number & 127 | 128])
        number >>= 7
    return octets + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    """Return a field of a message of protocol buffers."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def geosite(world: World) -> bytes:
    data = b""
    for name, items in world.sites.items():
        entry = field(1, name.upper().encode())
        for kind, value, marks in items:
            attributes = b"".join(field(3, field(1, mark.encode()) + field(2, 1)) for mark in marks)
            entry += field(2, field(1, kind) + field(2, value.encode()) + attributes)
        data += field(1, entry)
    return data


def geoip(lists: dict[str, list[str]]) -> bytes:
    data = b""
    for name, prefixes in lists.items():
        entry = field(1, name.upper().encode())
        for prefix in map(ipaddress.ip_network, prefixes):
            entry += field(2, field(1, prefix.network_address.packed) + field(2, prefix.prefixlen))
        data += field(1, entry)
    return data


def apart(lists: dict[str, list[str]]) -> dict[str, str]:
    """Return prefixes with their names, none within another, as a database needs them; the first counts."""
    taken: dict[str, str] = {}
    for name, prefixes in lists.items():
        for prefix in map(ipaddress.ip_network, prefixes):
            others = [ipaddress.ip_network(other) for other in taken]
            # In a database ::1 is where 0.0.0.1 is, so that one is left out.
            if (
                prefix.prefixlen
                and prefix.network_address.packed[0]
                and not any(prefix.version == other.version and prefix.overlaps(other) for other in others)
            ):
                taken[str(prefix)] = name
    return taken


class Files:
    """The files, in mihomo's home, and what our readers make of them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        (folder / "geosite.dat").write_bytes(geosite(world))
        (folder / "geoip.dat").write_bytes(geoip(world.countries))
        countries = {
            prefix: {"country": {"iso_code": name.upper()}} for prefix, name in apart(world.countries).items()
        }
        (folder / "country.mmdb").write_bytes(make_mmdb(countries, "GeoLite2-Country"))
        systems = {
            prefix: {"autonomous_system_number": name}
            for prefix, name in apart({str(k): v for k, v in world.systems.items()}).items()
            for name in [int(name)]
        }
        (folder / "ASN.mmdb").write_bytes(make_mmdb(systems, "GeoLite2-ASN"))
        self.providers: dict[str, dict[str, str]] = {}
        for number, (name, (behavior, items)) in enumerate(world.sets.items()):
            self._write_set(name, behavior, items, FORMATS[number % (2 if behavior == "classical" else 3)])

    def _write_set(self, name: str, behavior: str, items: list[str], form: str) -> None:
        path = self.folder / f"{name}.{form}"
        if form == "yaml":
            path.write_text(
                "payload:\n" + "".join(f"  - {json.dumps(item, ensure_ascii=False)}\n" for item in items)
            )
        else:
            text = path.with_suffix(".txt")
            text.write_text("\n".join(items) + "\n")
            if form == "mrs":
                mihomo(behavior, "text", text, path)
            else:
                path = text
        self.providers[name] = {"type": "file", "behavior": behavior, "format": form, "path": str(path)}

    def contents(self, *, from_database: bool) -> dict[str, RuleSetContent]:
        """Return all sets under the names that rules ask for."""
        sets = {}
        for name, provider in self.providers.items():
            sets[name] = read_set(provider["path"], provider["format"], provider["behavior"])
            # A classical item that can never be met is left out, with a note.
            assert not sets[name].skipped or provider["behavior"] == "classical", sets[name].skipped
        sites = Geosite((self.folder / "geosite.dat").read_bytes(), "geosite.dat")
        for site in self.world.sites:
            for query in (site, *(f"{site}@{mark}" for mark in MARKS)):
                sets[f"geosite:{query}"] = sites.read(query)
        for country in self.world.countries:
            file, form = ("country.mmdb", "mmdb") if from_database else ("geoip.dat", "geoip")
            sets[f"geoip:{country}"] = read_set(self.folder / file, form, query=country)
        systems = Mmdb(self.folder / "ASN.mmdb")
        for system in self.world.systems:
            sets[f"asn:{system}"] = systems.read_asn(system)
        systems.close()
        return sets
