"""Names in a packed trie, asked as they are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rulesets.programs import names
from tunproxy.rules.domains import DomainSet
from tunproxy.rules.name_trie import MAX_CHILDREN, NameTrie
from tunproxy.rulesets.louds import little_endian, write_keys

HOST = st.text(alphabet="ab.+", min_size=1, max_size=8).filter(lambda text: "" not in text.split("."))


def trie_of(*keys: str) -> NameTrie:
    leaves, bitmap, labels = write_keys(sorted(set(keys)))
    trie = NameTrie(little_endian(leaves), little_endian(bitmap), labels)
    assert trie.whole
    return trie


def test_name_is_in_but_neither_parents_nor_children() -> None:
    trie = trie_of("www.a.com")
    assert trie.entry("www.a.com") == "www.a.com"
    for other in ("a.com", "x.www.a.com", "ww.a.com", "wwww.a.com", "com", ""):
        assert not trie.has(other)


def test_name_with_all_below() -> None:
    trie = trie_of("a.com", "+.a.com")
    assert trie.entry("a.com") == trie.entry("x.a.com") == trie.entry("y.x.a.com") == "a.com"
    assert not trie.has("xa.com")


def test_names_below_alone() -> None:
    trie = trie_of("+.a.com")
    assert trie.entry("x.a.com") == "a.com"
    assert not trie.has("a.com")


def test_widest_entry_is_named() -> None:
    assert trie_of("+.a.com", "x.a.com", "+.com").entry("x.a.com") == "com"


def test_patterns_are_not_names() -> None:
    trie = trie_of("*.a.com", "x.*.b.com")
    assert not trie.has("*.a.com")
    assert not trie.has("x.*.b.com")
    assert not trie.has("x.a.com")


def test_empty_trie_has_nothing() -> None:
    trie = trie_of()
    assert not trie.has("a")
    assert not trie.has("")


def test_name_outside_ascii_is_found_or_not_but_never_an_error() -> None:
    assert not trie_of("a.com").has("münchen.a.com\udc80")
    assert trie_of("+.a.com").entry("münchen.a.com") == "a.com"


@given(
    st.sets(HOST, max_size=8),
    st.sets(HOST, max_size=8),
    st.sets(HOST, max_size=8),
    st.lists(HOST, max_size=20),
)
def test_answers_are_those_of_the_names_in_lists(
    exact: set[str], suffix: set[str], below: set[str], hosts: list[str]
) -> None:
    exact = {name for name in exact if not name.startswith("+.")}
    suffix = {name for name in suffix if not name.startswith("+.")}
    trie = trie_of(*exact, *suffix, *("+." + name for name in suffix | below))
    plain = DomainSet(sorted(exact), sorted(suffix), sorted(below), [])
    for host in [*hosts, *exact, *suffix, *below, *("a." + name for name in suffix | below)]:
        if not host.startswith("+."):
            assert trie.has(host) == plain.has(host), host


def test_thousands_of_names_are_in_and_others_are_not() -> None:
    known = set(names(1, 5000))
    trie = trie_of(*known)
    assert all(trie.entry(name) == name for name in known)
    others = set(names(2, 3000)) - known
    assert others
    assert not any(trie.has(name) for name in others)
    assert not any(trie.has("x" + name) for name in known if "x" + name not in known)


def test_parents_and_children_agree() -> None:
    trie = trie_of(*names(3, 300))
    seen = [0]
    for node in range(trie.nodes):
        first, end = trie.children(node)
        assert all(trie.parent(child) == node for child in range(first, end))
        assert all(trie.child(node, trie.labels[child - 1]) == child for child in range(first, end))
        seen += range(first, end)
    assert seen == list(range(trie.nodes))


@pytest.mark.parametrize(
    ("bitmap", "labels"),
    [
        (0b1010, b"ba"),  # a one is missing
        (0b11010, b"b"),  # a label is missing
        (0b11010, b"bax"),  # a label is left over
        (0b101010, b"ba"),  # a one too many
        (0, b""),
        (1 << 300, b"x" * 299),
    ],
)
def test_numbers_that_contradict_each_other_are_told(bitmap: int, labels: bytes) -> None:
    trie = NameTrie(bytes(8), bitmap.to_bytes(40, "little"), labels)
    assert not trie.whole
    assert not trie.has("ab")


def test_damaged_trie_answers_something() -> None:
    leaves, bitmap, labels = write_keys(sorted({*names(4, 200), "+.a.com"}))
    octets = little_endian(bitmap)
    chance = random.Random(5)
    answered = 0
    for _ in range(300):
        copy = bytearray(octets)
        for _ in range(2):  # as many ones as before, elsewhere
            one, other = chance.randrange(len(copy)), chance.randrange(len(copy))
            copy[one], copy[other] = copy[other], copy[one]
        trie = NameTrie(little_endian(leaves), bytes(copy), labels)
        answered += trie.whole
        for host in ("www.a.com", "moc", "a" * 253, "example.co.uk"):
            assert trie.entry(host) in host
    assert answered > 100


def test_too_many_children_are_not_searched() -> None:
    count = MAX_CHILDREN + 44
    bits = (1 << count) | ((1 << count) - 1) << (count + 1)  # the root's children, then a 1 for each of them
    trie = NameTrie(b"\xff" * 64, bits.to_bytes(80, "little"), b"x" * (count - 1) + b"y")
    assert trie.whole
    assert trie.child(0, ord("x")) == 1
    assert trie.child(0, ord("y")) == 0
