"""Databases of addresses."""

from pathlib import Path

import pytest

from tests.unit.rulesets.mmdb_maker import make_mmdb
from tests.unit.rulesets.programs import GEODATA, check_message, damaged, needs_geodata
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.mmdb import Mmdb, asn_of, codes_of

COUNTRIES = {
    "192.0.2.0/24": {"country": {"iso_code": "AA"}},
    "2001:db8::/32": {"country": {"iso_code": "BB"}},
}


def opened(path: Path, data: bytes) -> Mmdb:
    path.write_bytes(data)
    return Mmdb(path)


@pytest.mark.parametrize("bits", [24, 28, 32])
def test_country_of_an_address_and_addresses_of_a_country(tmp_path: Path, bits: int) -> None:
    database = opened(tmp_path / "a.mmdb", make_mmdb(COUNTRIES, "GeoLite2-Country", bits=bits))
    assert database.kind == "GeoLite2-Country"
    assert database.codes("192.0.2.77") == ("aa",)
    assert database.codes("2001:db8::1") == ("bb",)
    assert database.codes("10.0.0.1") == ()
    assert database.read("AA").ranges == [(4, 0xC0000200, 0xC00002FF)]
    assert database.read("bb").ranges == [(6, 0x20010DB8 << 96, (0x20010DB9 << 96) - 1)]
    assert database.read("cc").ranges == []
    database.close()


def test_systems_of_addresses(tmp_path: Path) -> None:
    records = {
        "10.0.0.0/9": {"autonomous_system_number": 64500},
        "10.128.0.0/9": {"autonomous_system_number": 64501},
    }
    database = opened(tmp_path / "a.mmdb", make_mmdb(records, "GeoLite2-ASN"))
    assert (database.asn("10.1.1.1"), database.asn("10.200.1.1"), database.asn("11.0.0.1")) == (
        64500,
        64501,
        0,
    )
    assert database.read_asn(64501).ranges == [(4, 0x0A800000, 0x0AFFFFFF)]


@pytest.mark.parametrize(
    ("record", "codes"),
    [
        ("cn", ("cn",)),  # sing-geoip
        (["cn", "Cloudflare"], ("cn", "cloudflare")),  # Meta-geoip0
        ({"country": {"iso_code": "CN"}}, ("cn",)),
        ({"country": "CN"}, ("cn",)),
        ({"country_code": "CN"}, ("cn",)),
        ({"country": {}}, ()),
        ({}, ()),
        (5, ()),
    ],
)
def test_codes_of_all_kinds_of_records(record: object, codes: tuple[str, ...]) -> None:
    assert codes_of(record) == codes


@pytest.mark.parametrize(
    ("record", "number"),
    [
        ({"autonomous_system_number": 5}, 5),
        ({"asn": "AS13335"}, 13335),
        ({"asn": 7}, 7),
        ({"asn": "x"}, 0),
        ("cn", 0),
    ],
)
def test_systems_of_all_kinds_of_records(record: object, number: int) -> None:
    assert asn_of(record) == number


def test_missing_and_other_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="cannot open the database"):
        Mmdb(tmp_path / "none.mmdb")
    with pytest.raises(RuleError, match="cannot open the database"):
        opened(tmp_path / "a.mmdb", b"not a database" * 100)


def test_damaged_file_is_read_or_refused(tmp_path: Path) -> None:
    for copy in damaged(make_mmdb(COUNTRIES, "GeoLite2-Country"), 11, 300):
        try:
            database = opened(tmp_path / "a.mmdb", copy)
            database.read("aa")
            database.codes("192.0.2.1")
        except RuleError as error:
            check_message(error, str(tmp_path / "a.mmdb:1:1: cannot"))


@needs_geodata
def test_real_database_answers_what_its_ranges_say() -> None:
    assert GEODATA
    database = Mmdb(GEODATA / "ASN.mmdb")
    ranges = database.read_asn(15169).ranges
    assert database.asn("8.8.8.8") == 15169
    assert any(first <= 0x08080808 <= last for version, first, last in ranges if version == 4)
    for _, first, last in [found for found in ranges if found[0] == 4][:200]:
        for number in (first, last):
            assert database.asn(".".join(str(octet) for octet in number.to_bytes(4, "big"))) == 15169
    database.close()
