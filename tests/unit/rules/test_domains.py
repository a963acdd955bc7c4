"""Names, suffixes, patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.domains import DomainIndex, DomainSet, LabelTrie
from tunproxy.rules.numbers import NONE

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(st.lists(NAMES), st.lists(NAMES), st.lists(NAMES), NAMES)
def test_set_has_names_suffixes_and_what_is_below(
    exact: list[str], suffix: list[str], below: list[str], host: str
) -> None:
    under = [name for name in suffix + below if host.endswith("." + name)]
    assert DomainSet(exact, suffix, below, []).has(host) == (host in exact or host in suffix or bool(under))


@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=8), NAMES, st.integers(0, 8))
def test_index_finds_the_lowest_rule_from_start_on(
    entries: list[tuple[bool, str]], host: str, start: int
) -> None:
    index = DomainIndex()
    expected = NONE
    for number, (suffix, name) in enumerate(entries):
        (index.suffix if suffix else index.exact).add(name, number)
        if number >= start and (host == name or (suffix and host.endswith("." + name))):
            expected = min(expected, number)
    assert index.next(host, start) == expected


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["localhost"], ["a.com"]),
        ("*.a.com", ["b.a.com"], ["a.com", "c.b.a.com"]),
        ("a.*.org", ["a.b.org"], ["a.org", "a.b.c.org", "b.b.org"]),
        ("+.*.com", ["a.com", "b.a.com", "c.b.a.com"], ["com", "a.org"]),
        (".*.com", ["b.a.com", "c.b.a.com"], ["a.com", "com"]),
        ("*.*.com", ["b.a.com"], ["a.com", "c.b.a.com"]),
        ("+.a.com", ["a.com", "b.a.com"], ["ba.com"]),
    ],
)
def test_pattern_stands_for_whole_labels(pattern: str, yes: list[str], no: list[str]) -> None:
    names = DomainSet([], [], [], [pattern])
    assert [host for host in yes if not names.has(host)] == []
    assert [host for host in no if names.has(host)] == []


def test_trie_finds_the_lowest_of_several_patterns() -> None:
    trie = LabelTrie()
    for number, pattern in enumerate(["*.x.com", "+.com", "a.x.com", "*.*.com"]):
        trie.add(pattern, number)
    assert [trie.next("a.x.com", start) for start in range(5)] == [0, 1, 2, 3, NONE]


def test_set_names_the_entry_that_fits() -> None:
    names = DomainSet(["a.com"], ["b.com"], [], ["*.c.com"])
    hosts = ("a.com", "x.y.b.com", "x.c.com", "d.com")
    assert [names.entry(host) for host in hosts] == ["a.com", "b.com", "*", ""]
