"""sing-box rule sets in JSON."""

import pytest

from tests.unit.rulesets.programs import FIXTURES, check_message, damaged
from tunproxy.rules.model import Position, RuleError, RuleSetContent
from tunproxy.rulesets.sing_json import read_sing_json


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_known_versions(version: int) -> None:
    data = b'{"version": %d, "rules": [{"domain": "a.b"}]}' % version
    assert read_sing_json(data, "x").exact == ["a.b"]


@pytest.mark.parametrize("version", ["6", "0", '"1"', "true", "1.5", "null"])
def test_unknown_version_is_an_error(version: str) -> None:
    with pytest.raises(RuleError, match="unknown version"):
        read_sing_json(f'{{"version": {version}, "rules": []}}'.encode(), "x")


def test_rules_that_cannot_be_used_are_skipped() -> None:
    content = read_sing_json((FIXTURES / "all-items.json").read_bytes(), "x")
    assert [why.partition(":")[0] for _, why in content.skipped] == [
        f"rules[{n}]" for n in (8, 9, 10, 11, 12)
    ]
    assert content.exact == ["exact.example", "two.exact.example", "or.example"]


def test_comments_and_commas_at_the_end_are_read_as_sing_box_does() -> None:
    data = b"""// of mine
    { "version": 3, # three
      "rules": [ /* none
      */ {"domain": ["a.b", "c//d",], "domain_regex": "x,]"}, ], }"""
    assert read_sing_json(data.replace(b"c//d", b"c.d"), "x").exact == ["a.b", "c.d"]
    assert read_sing_json(data, "x").skipped == [(Position("x", 1, 1), "rules[0]: 'c//d' is no name")]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"version": 3,\n  "rules": [}', "x:2:13: not JSON: invalid character"),
        ('\ufeff{"ä": /*\n*/ "ö" 1'.encode(), "x:2:8: not JSON: expected ',' or '}'"),
        (b'{"version": 3, // no end', "x:1:1: not JSON: Input data was truncated"),
    ],
)
def test_what_is_wrong_has_its_place(data: bytes, told: str) -> None:
    with pytest.raises(RuleError) as caught:
        read_sing_json(data, "x")
    assert str(caught.value) == told


@pytest.mark.parametrize("data", [b"", b"[]", b'{"version": 1, "rules": 5}', b"\xff", b"[" * 100_000])
def test_what_is_no_rule_set_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError, match=r"^x:1:1: not "):
        read_sing_json(data, "x")


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged((FIXTURES / "all-items.json").read_bytes(), 5, 500):
        try:
            assert isinstance(read_sing_json(copy, "x"), RuleSetContent)
        except RuleError as error:
            check_message(error, "x:")
