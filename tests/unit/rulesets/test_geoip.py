"""geoip.dat: lists of prefixes."""

import pytest

from tests.unit.rulesets.programs import GEODATA, check_message, damaged, needs_geodata
from tests.unit.rulesets.test_geosite import field
from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rulesets.geoip import Geoip, complement
from tunproxy.rulesets.mmdb import Mmdb


def cidr(address: bytes, length: int) -> bytes:
    return (
        field(2, field(1, address) + field(2, length))
        if length < 128
        else field(2, field(1, address) + b"\x10\x80\x01")
    )


DATA = field(
    1,
    field(1, b"AA")
    + cidr(b"\xc0\0\2\0", 24)
    + cidr(b"\x20\1\x0d\xb8" + bytes(12), 32)
    + cidr(b"\1", 8)
    + cidr(bytes(4), 33),
) + field(1, field(1, b"BB") + cidr(b"\0" * 15 + b"\1", 128) + field(3, 1))


def test_prefixes_of_both_versions() -> None:
    content = Geoip(DATA, "x").read("aa")
    first = 0x20010DB8 << 96
    assert content.ranges == [(4, 0xC0000200, 0xC00002FF), (6, first, first + 2**96 - 1)]
    assert len(content.skipped) == 2


def test_reverse_match_is_all_others() -> None:
    assert Geoip(DATA, "x").read("!BB").ranges == [(4, 0, 2**32 - 1), (6, 0, 0), (6, 2, 2**128 - 1)]


def test_complement_of_ranges_that_overlap() -> None:
    ranges = [(4, 5, 10), (4, 8, 9), (4, 11, 12), (4, 0, 1), (6, 0, 2**128 - 1)]
    assert complement(ranges) == [(4, 2, 4), (4, 13, 2**32 - 1)]


def test_unknown_list_is_an_error() -> None:
    with pytest.raises(RuleError, match="no list 'cc'"):
        Geoip(DATA, "x").read("CC")


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(DATA, 9, 800):
        try:
            lists = Geoip(copy, "x")
            for code in lists.lists:
                assert isinstance(lists.read(code), RuleSetContent) or "!" in code
        except RuleError as error:
            check_message(error, "x:1:1: ")


@needs_geodata
def test_real_file_and_real_database_mostly_agree() -> None:
    assert GEODATA
    lists = Geoip((GEODATA / "geoip.dat").read_bytes(), "geoip.dat")
    assert len(lists.lists) > 200
    database = Mmdb(GEODATA / "country.mmdb")
    from_file = size(lists.read("cn").ranges)
    from_database = size(database.read("cn").ranges)
    database.close()
    assert from_file > 200_000_000
    assert abs(from_file - from_database) < from_file // 20


def size(ranges: list[tuple[int, int, int]]) -> int:
    return sum(last - first + 1 for version, first, last in ranges if version == 4)
