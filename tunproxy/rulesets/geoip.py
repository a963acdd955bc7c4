"""v2fly's geoip.dat: address prefixes by country or other name. One message of protocol buffers:

list    repeated entry = 1
entry   code = 1, repeated cidr = 2, reverse_match = 3
cidr    address = 1 (4 or 16 octets), prefix length = 2
"""

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.geosite import entries_by_code
from tunproxy.rulesets.items import packed_range
from tunproxy.rulesets.notes import Notes, broken
from tunproxy.rulesets.protobuf import fields_of


class Geoip:
    """A geoip.dat; lists are understood when they are asked for."""

    def __init__(self, data: bytes, name: str) -> None:
        """Find where each list is; raises RuleError for damaged data."""
        self.name = name
        self.lists: dict[str, bytes] = {}
        for code, entry in entries_by_code(data, name):
            self.lists[code] = self.lists.get(code, b"") + entry

    def read(self, code: str) -> RuleSetContent:
        """Return the addresses of a list; a leading `!` is left to the caller. Raises RuleError."""
        wanted = code.strip().lower().removeprefix("!")
        if wanted not in self.lists:
            raise broken(self.name, f"no list {wanted!r} in the file")
        content = RuleSetContent()
        notes = Notes(content, self.name)
        reverse = False
        for number, value in fields_of(self.lists[wanted], self.name):
            if number == 2 and isinstance(value, bytes):
                found = self._prefix(value)
                if found is None:
                    notes.skip(1, 1, f"{wanted}: an address or its prefix length is damaged")
                else:
                    content.ranges.append(found)
            elif number == 3 and isinstance(value, int):
                reverse = bool(value)
        if reverse:
            content.ranges = complement(content.ranges)
        return content

    def _prefix(self, cidr: bytes) -> tuple[int, int, int] | None:
        address = b""
        length = 0
        for number, value in fields_of(cidr, self.name):
            if number == 1 and isinstance(value, bytes):
                address = value
            elif number == 2 and isinstance(value, int):
                length = value
        bits = 8 * len(address)
        if bits not in (32, 128) or length > bits:
            return None
        hosts = (1 << bits - length) - 1
        first = int.from_bytes(address, "big") & ~hosts
        size = len(address)
        return packed_range(first.to_bytes(size, "big"), (first | hosts).to_bytes(size, "big"))


def complement(ranges: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return all addresses that are in none of ranges."""
    result = []
    for version, bits in ((4, 32), (6, 128)):
        start = 0
        for _, first, last in sorted(found for found in ranges if found[0] == version):
            if first > start:
                result.append((version, start, first - 1))
            start = max(start, last + 1)
        if start < 1 << bits:
            result.append((version, start, (1 << bits) - 1))
    return result
