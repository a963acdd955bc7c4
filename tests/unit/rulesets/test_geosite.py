"""geosite.dat: lists of names."""

import pytest

from tests.unit.rulesets.programs import GEODATA, check_message, damaged, needs_geodata
from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rulesets.geosite import Geosite, split_query


def field(number: int, value: int | bytes) -> bytes:
    """Return a field of a message; its value is below 128 or shorter than that."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    size = len(value)
    return (
        bytes([number << 3 | 2])
        + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7]))
        + value
    )


def domain(kind: int, value: str, *attributes: str) -> bytes:
    marks = b"".join(field(3, field(1, attribute.encode()) + field(2, 1)) for attribute in attributes)
    return field(2, (field(1, kind) if kind else b"") + field(2, value.encode()) + marks)


DATA = field(
    1,
    field(1, b"FIRST")
    + domain(0, "keyword")
    + domain(1, r"^r\d+\.example$")
    + domain(2, "suffix.example")
    + domain(3, "full.example", "ads")
    + domain(3, "both.example", "ads", "cn")
    + domain(3, "bad..example")
    + domain(1, "(")
    + domain(7, "kind.example"),
) + field(1, field(1, b"SECOND") + domain(2, "second.example"))


def test_list_with_all_types() -> None:
    content = Geosite(DATA, "x").read("First")
    assert content.keyword == ["keyword"]
    assert content.regex == [r"^r\d+\.example$"]
    assert content.suffix == ["suffix.example"]
    assert content.exact == ["full.example", "both.example"]
    assert len(content.skipped) == 3


def test_attributes_choose_names() -> None:
    sites = Geosite(DATA, "x")
    assert sites.read("first@ads").exact == ["full.example", "both.example"]
    assert sites.read("first@ads@cn") == RuleSetContent(exact=["both.example"])
    assert sites.read("first@none") == RuleSetContent()
    assert sites.read("!second").suffix == ["second.example"]


def test_query_in_its_parts() -> None:
    assert split_query("!CN@Ads") == (True, "cn", frozenset({"ads"}))
    assert split_query("google") == (False, "google", frozenset())


def test_unknown_list_and_other_files_are_errors() -> None:
    with pytest.raises(RuleError, match="no list 'third'"):
        Geosite(DATA, "x").read("third")
    for data in (b"\x08\x01", b"\x0a\x02\x10\x01", b"\xff", b"PK\3\4"):
        with pytest.raises(RuleError):
            Geosite(data, "x")


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(DATA, 8, 800):
        try:
            sites = Geosite(copy, "x")
            for code in sites.lists:
                assert isinstance(sites.read(code + "@ads"), RuleSetContent) or "@" in code
        except RuleError as error:
            check_message(error, "x:1:1: ")


@needs_geodata
def test_the_real_file() -> None:
    assert GEODATA
    sites = Geosite((GEODATA / "geosite.dat").read_bytes(), "geosite.dat")
    assert len(sites.lists) > 1000
    google = sites.read("google")
    assert "google.com" in google.suffix
    assert not google.skipped
    assert 0 < len(sites.read("google@ads").suffix) < len(google.suffix)
