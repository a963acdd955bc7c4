"""Rule sets by name, and what is remembered of them."""

import pytest

from tests.unit.rulesets import mmdb_maker
from tunproxy.control.config.schema import RuleSetConfig
from tunproxy.control.config.sets import SetCache, Sets
from tunproxy.rules.model import RuleError


def sets_of(cache: SetCache | None = None, **files: tuple[bytes, dict[str, str]]) -> Sets:
    configs = {name: RuleSetConfig(path=f"/x/{name}", **options) for name, (_, options) in files.items()}
    contents = {f"/x/{name}": data for name, (data, _) in files.items()}
    return Sets(configs, contents, cache or SetCache())


TEXT = {"format": "text", "behavior": "domain"}


def test_set_is_read_as_it_is_described() -> None:
    found = sets_of(ads=(b"+.a.com\nb.com\n", TEXT)).load("ads")
    assert found is not None
    assert (found.suffix, found.exact) == (["a.com"], ["b.com"])


def test_set_that_is_not_there() -> None:
    sets = sets_of(ads=(b"", TEXT))
    assert sets.load("other") is None
    assert sets.load("geosite:cn") is None
    assert sets.why_none("other") == ""
    assert sets.why_none("geoip:cn") == (
        'no rule set has such lists (add [rule-sets.geoip] with path = "country.mmdb", format = "mmdb")'
    )


def test_content_is_read_once_until_it_changes() -> None:
    cache = SetCache()
    first = sets_of(cache, ads=(b"a.com\n", TEXT)).load("ads")
    cache.keep()
    assert sets_of(cache, ads=(b"a.com\n", TEXT)).load("ads") is first
    assert sets_of(cache, ads=(b"b.com\n", TEXT)).load("ads") is not first
    assert (
        sets_of(cache, ads=(b"a.com\n", {"format": "text", "behavior": "classical"})).load("ads") is not first
    )


def test_content_that_nobody_used_is_forgotten() -> None:
    cache = SetCache()
    first = sets_of(cache, ads=(b"a.com\n", TEXT)).load("ads")
    cache.keep()
    cache.keep()
    assert sets_of(cache, ads=(b"a.com\n", TEXT)).load("ads") is not first


def test_broken_file_is_told_by_its_path() -> None:
    with pytest.raises(RuleError, match=r"^/x/ads:1:1: "):
        sets_of(ads=(b"nonsense", {"format": "srs"})).load("ads")
    with pytest.raises(RuleError, match=r"^/x/db:1:1: cannot open the database"):
        sets_of(db=(b"nonsense", {"format": "mmdb", "list": "cn"})).load("db")


def test_country_and_autonomous_system_are_looked_up_in_their_databases() -> None:
    sets = sets_of(
        asn=(mmdb_maker.make_mmdb({"192.0.2.0/24": {"autonomous_system_number": 64500}}, "X-ASN"), {}),
        land=(mmdb_maker.make_mmdb({"198.51.100.0/24": {"country": {"iso_code": "CN"}}}, "X-Country"), {}),
    )
    country, system = sets.load("geoip:cn"), sets.load("asn:64500")
    assert country is not None
    assert system is not None
    assert country.ranges == [(4, 0xC6336400, 0xC63364FF)]
    assert system.ranges == [(4, 0xC0000200, 0xC00002FF)]


def test_check_reads_what_there_is_and_asks_for_no_list() -> None:
    found = sets_of(ads=(b"a.com\n", TEXT)).check("ads")
    assert found is not None
    assert found.exact == ["a.com"]
    for form in ("geosite", "geoip", "mmdb"):
        with pytest.raises(RuleError, match=r"^/x/db:1:1: "):
            sets_of(db=(b"<html>", {"format": form})).check("db")
    with pytest.raises(RuleError, match="no list in it"):
        sets_of(db=(b"", {"format": "geosite"})).check("db")
    database = mmdb_maker.make_mmdb({"192.0.2.0/24": {"country": {"iso_code": "CN"}}}, "X-Country")
    assert sets_of(db=(database, {"format": "mmdb"})).check("db") is None
