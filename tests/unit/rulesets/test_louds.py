"""The trie of names in .mrs and .srs."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rulesets.programs import names
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.louds import MAX_KEY_LEN, read_keys, write_keys


@given(st.sets(st.text(alphabet="ab.*ü漢", min_size=1, max_size=12), min_size=1))
def test_what_is_written_is_read(keys: set[str]) -> None:
    assert sorted(read_keys(*write_keys(sorted(keys)), "x")) == sorted(keys)


def test_many_names_come_back() -> None:
    keys = set(names(1, 20_000))
    assert set(read_keys(*write_keys(list(keys)), "x")) == keys


def test_one_name_by_hand() -> None:
    # "ab": the root leads to b, b to a; so 0 1, 0 1, and 1 for a, which has no children and ends a key.
    assert read_keys(array("Q", [0b100]), array("Q", [0b11010]), b"ba", "x") == ["ab"]


@pytest.mark.parametrize(
    ("leaves", "bitmap", "labels"),
    [
        ([0b100], [0b1010], b"ba"),  # a one is missing
        ([0b100], [0b11010], b"b"),  # a label is missing
        ([0b100], [0b11010], b"bax"),  # a label is left over
        ([1], [], b""),
        ([1], [0] * 1000, b"x" * 300),  # a node with more children than there are octets
    ],
)
def test_damaged_trie_is_an_error(leaves: list[int], bitmap: list[int], labels: bytes) -> None:
    with pytest.raises(RuleError, match="x:1:1: the trie"):
        read_keys(array("Q", leaves), array("Q", bitmap), labels, "x")


def test_deep_trie_is_refused_before_it_grows() -> None:
    leaves, bitmap, labels = write_keys(["a" * MAX_KEY_LEN])
    assert read_keys(leaves, bitmap, labels, "x") == ["a" * MAX_KEY_LEN]
    with pytest.raises(RuleError, match=f"more than {MAX_KEY_LEN} octets"):
        read_keys(*write_keys(["a" * (MAX_KEY_LEN + 1)]), "x")


def test_missing_leaves_end_no_key() -> None:
    assert read_keys(array("Q"), array("Q", [0b11010]), b"ba", "x") == []
