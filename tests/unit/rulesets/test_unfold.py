"""Packed names become lists again."""

import pytest

from tunproxy.rules.model import RuleError, RuleSetContent
from tunproxy.rules.name_trie import NameTrie
from tunproxy.rulesets.louds import MAX_KEY_LEN, little_endian, write_keys
from tunproxy.rulesets.unfold import add_keys, patterns_in, unfolded


def trie_of(*keys: str) -> NameTrie:
    leaves, bitmap, labels = write_keys(sorted(keys))
    return NameTrie(little_endian(leaves), little_endian(bitmap), labels)


def test_content_without_packed_names_stays_what_it_is() -> None:
    content = RuleSetContent(exact=["a"])
    assert unfolded(content) is content


def test_names_join_those_in_lists() -> None:
    content = RuleSetContent(
        exact=["a"], keyword=["k"], tries=[trie_of("b", "c", "+.c", "+.d"), trie_of("+.e")]
    )
    assert unfolded(content) == RuleSetContent(
        exact=["a", "b"], suffix=["c"], below=["d", "e"], keyword=["k"]
    )
    assert content.exact == ["a"]


def test_keys_are_what_clash_wrote() -> None:
    content = RuleSetContent()
    add_keys(content, ["a", "b", "+.b", "+.c", "*.d", "*.e", "+.*.e", "+.*.f"])
    assert (content.exact, content.suffix, content.below) == (["a"], ["b"], ["c"])
    assert content.wildcard == ["*.d", "+.*.e", ".*.f"]


def test_patterns_are_found_among_names() -> None:
    keys = ["a.com", "*.com", "*.*.com", "x.*.org", "+.*.net", "*", "y.*.*.ü", "b*d.com"]
    trie = trie_of(*keys, *(f"name{number}.com" for number in range(300)))
    assert sorted(patterns_in(trie, "x")) == sorted(key for key in keys if "*" in key)
    assert patterns_in(trie_of("a", "+.b"), "x") == []


def test_pattern_that_is_too_long_is_refused() -> None:
    assert patterns_in(trie_of("a" * (MAX_KEY_LEN - 1) + "*"), "x")
    for key in ("a" * MAX_KEY_LEN + "*", "*" + "a" * (MAX_KEY_LEN + 1)):
        with pytest.raises(RuleError, match="x:1:1: the trie"):
            patterns_in(trie_of(key), "x")


def test_pattern_that_hangs_on_itself_is_refused() -> None:
    # The root has no children; node 1 is its own child, and the two 1s of it and the root are there.
    trie = NameTrie(b"\xff", (0b101).to_bytes(8, "little"), b"*")
    assert trie.whole
    with pytest.raises(RuleError, match="no way from the root"):
        patterns_in(trie, "x")
