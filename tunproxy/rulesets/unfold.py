"""Lists of what a set keeps packed: for those who write sets, and for patterns, which no trie is asked for.

A key is a name, a pattern with `*` labels, or `+.` and either. `x` and `+.x` together are Clash's `+.x`, the
name and every name below it; `+.x` alone is Clash's `.x`, every name below.
"""

import sys
from array import array
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rules.name_trie import NameTrie
from tunproxy.rulesets.louds import MAX_KEY_LEN, MAX_KEYS_LEN, decoded, read_keys
from tunproxy.rulesets.notes import broken

BELOW: Final = "+."


def unfolded(content: RuleSetContent) -> RuleSetContent:
    """Return content with all names in lists; raises RuleError for a trie that contradicts itself."""
    if not content.tries:
        return content
    result = replace(
        content, exact=list(content.exact), suffix=list(content.suffix), below=list(content.below), tries=[]
    )
    for trie in content.tries:
        keys = read_keys(_words(trie.leaves), _words(trie.bitmap), trie.labels, "a rule set")
        add_keys(result, [key for key in keys if "*" not in key])
    return result


def add_keys(content: RuleSetContent, keys: Iterable[str]) -> None:
    """Add what keys, all of them with a `*` or without one, say of names."""
    known = set(keys)
    deep = {key[len(BELOW) :] for key in known if key.startswith(BELOW)}
    plain = {key for key in known if not key.startswith(BELOW)}
    whole = deep & plain
    patterns = [key for key in plain | deep if "*" in key]
    if patterns:
        content.wildcard = [
            *content.wildcard,
            *sorted((BELOW if key in whole else "." if key in deep else "") + key for key in patterns),
        ]
    content.suffix += sorted(whole.difference(patterns))
    content.below += sorted((deep - whole).difference(patterns))
    content.exact += sorted((plain - whole).difference(patterns))


def patterns_in(trie: NameTrie, name: str) -> list[str]:
    """Return the keys with a `*`; raises RuleError where they are too long, or the trie leads in a circle."""
    found: list[str] = []
    size = 0
    at = trie.labels.find(b"*")
    while at >= 0:
        path = _path_to(trie, at + 1, name)
        if b"*" not in path[:-1]:
            for key in _keys_from(trie, at + 1, path, name):
                size += len(key)
                if size > MAX_KEYS_LEN:
                    raise broken(name, f"the trie holds too many patterns ({len(found)} were read)")
                found.append(decoded(key.decode("latin-1")))
        at = trie.labels.find(b"*", at + 1)
    return found


def _path_to(trie: NameTrie, node: int, name: str) -> bytes:
    """Return the octets that lead from the root to node."""
    path = bytearray()
    while node:
        if len(path) > MAX_KEY_LEN:
            raise broken(name, "the trie of names is damaged (a node has no way from the root)")
        path.append(trie.labels[node - 1])
        node = trie.parent(node)
    return bytes(reversed(path))


def _keys_from(trie: NameTrie, node: int, path: bytes, name: str) -> Iterable[bytes]:
    """Yield the keys, turned to read forwards, that end at node or below it; path leads there."""
    # A node has one parent, and this one is reached from the root: so there is no circle ahead.
    ahead = [(node, path)]
    while ahead:
        node, path = ahead.pop()
        if len(path) > MAX_KEY_LEN:
            raise broken(name, f"the trie holds a name of more than {MAX_KEY_LEN} octets")
        if trie.is_leaf(node):
            yield path[::-1]
        first, end = trie.children(node)
        ahead.extend((child, path + trie.labels[child - 1 : child]) for child in range(first, end))


def _words(octets: bytes) -> "array[int]":
    words = array("Q", octets)
    if sys.byteorder == "big":
        words.byteswap()
    return words
