"""Clash rule providers, format yaml."""

import time

import pytest

from tests.unit.rulesets.programs import check_message, damaged, names
from tunproxy.rules.model import Position, RuleError, RuleSetContent
from tunproxy.rulesets.clash_yaml import read_yaml, unquote


def test_items_with_and_without_quotes_and_comments() -> None:
    data = b"""# made today
payload:
  # names
  - '+.a.com'
  - ".b.com"   # below
  - c.com # this

- d.com
"""
    content = read_yaml(data, "domain", "x")
    assert content == RuleSetContent(suffix=["a.com"], below=["b.com"], exact=["c.com", "d.com"])


@pytest.mark.parametrize(
    "head", [b"payload:", b"rules:", b"payload:  # list", b"version: 1\npayload:", b"---\n  'payload':"]
)
def test_heads_of_lists(head: bytes) -> None:
    assert read_yaml(head + b"\n  - a.com\n", "domain", "x").exact == ["a.com"]


def test_list_on_the_line_of_its_key() -> None:
    assert read_yaml(b"payload: [a.com, '+.b.com', \"c.com\"]\n", "domain", "x") == RuleSetContent(
        exact=["a.com", "c.com"], suffix=["b.com"]
    )
    assert read_yaml(b"payload: []\n", "domain", "x") == RuleSetContent()


def test_list_ends_at_the_next_key() -> None:
    assert read_yaml(b"payload:\n  - a.com\nother:\n  - b.com\n", "domain", "x").exact == ["a.com"]


def test_ends_of_documents_are_no_items() -> None:
    content = read_yaml(b"---\npayload:\n- a.com\n---\n- b.com\n...\n- -\n", "domain", "x")
    assert content.exact == ["a.com", "b.com", "-"]


def test_bad_lines_are_skipped_with_their_place() -> None:
    data = b'payload:\n  - a..com\n  - \'b.com\n  nonsense\n  - "c\\qd"\n  - e.com\n'
    content = read_yaml(data, "domain", "x")
    assert content.exact == ["e.com"]
    places = [(place.line, place.column) for place, _ in content.skipped]
    assert places == [(2, 5), (3, 5), (4, 1), (5, 5)]
    assert content.skipped[0][0] == Position("x", 2, 5)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a", "a"),
        ("'a''b'", "a'b"),
        ('"a\\u0041"', "aA"),
        ("'a' # b", "a"),
        ("a #b", "a"),
        ("a#b", "a#b"),
        ("''", ""),
    ],
)
def test_scalar(text: str, wanted: str) -> None:
    assert unquote(text) == (wanted, "")


@pytest.mark.parametrize("text", ["'", '"a', "'a' b", "'a"])
def test_bad_scalar(text: str) -> None:
    assert unquote(text)[1]


def test_classical_lines() -> None:
    data = b"payload:\n  - DOMAIN-SUFFIX,a.com\n  - 'DOMAIN-REGEX,^b{1,2}$'\n"
    data += b"  - AND,((DST-PORT,80),(NETWORK,TCP))\n"
    content = read_yaml(data, "classical", "x")
    assert (content.suffix, content.regex, len(content.conditions)) == (["a.com"], ["^b{1,2}$"], 1)


@pytest.mark.parametrize("data", [b"", b"- a.com\n", b"proxies:\n  - a\n"])
def test_file_without_payload_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError, match="`payload:` is missing"):
        read_yaml(data, "domain", "x")


@pytest.mark.parametrize("form", ["  - '{}'\n", '- "{}"\r\n', "- {}\n"])
def test_fast_and_careful_ways_agree(form: str) -> None:
    items = [lead + name for lead in ("", ".", "+.") for name in names(5, 3000)]
    lines = "".join(form.format(item) for item in items)
    fast = read_yaml(b"payload:\n" + b"#" * 70_000 + b"\n" + lines.encode(), "domain", "x")
    careful = read_yaml(
        b"payload:\n" + "".join(form.format(item) + "# c\n" for item in items).encode(), "domain", "x"
    )
    assert fast == careful
    assert len(fast.exact) == len(fast.suffix) == len(fast.below) == 3000


def test_damaged_file_is_read_or_refused() -> None:
    data = b"payload:\n  - '+.a.com'\n  - \".b.com\" # c\n  - DOMAIN,c.com\n  - 10.0.0.0/8\nend: [1]\n"
    for behavior in ("domain", "ipcidr", "classical"):
        for copy in damaged(data, 2, 300):
            try:
                assert isinstance(read_yaml(copy, behavior, "x"), RuleSetContent)
            except RuleError as error:
                check_message(error, "x:1:1: no")


def test_hundred_thousand_names_are_read_quickly() -> None:
    data = b"payload:\n" + "".join(f"  - '+.{name}'\n" for name in names(4, 100_000)).encode()
    started = time.process_time()
    content = read_yaml(data, "domain", "x")
    # As in test_clash_text.
    assert time.process_time() - started < 0.75
    assert len(content.suffix) == 100_000
