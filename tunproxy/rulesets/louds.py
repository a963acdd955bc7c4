"""The trie that .mrs and .srs keep names in: nodes level by level, as bits ("LOUDS").

Every key is a name written backwards, so that names with the same end share a path. ``bitmap`` has, for each
node in order, a 0 for each of its children and then a 1; ``labels`` the children's octets; ``leaves`` a 1 for
each node where a key ends. Children are numbered in the order in which they appear, so one pass from front
to back, a level at a time, finds all keys: neither rank nor select is needed.
Bit i of a list of words is bit i % 64, from the low end, of word i // 64.
"""

import sys
from array import array
from itertools import chain, compress, repeat
from operator import add
from typing import Final

from tunproxy.rulesets.notes import broken

# Our choices. A trie of n nodes can hold keys of n² / 2 octets together, so both have limits.
MAX_KEY_LEN: Final = 512  # a name has 253 octets at most; AdGuard's patterns may be longer
MAX_KEYS_LEN: Final = 512 << 20
MAX_LABELS: Final = 48 << 20  # a set of 3,000,000 names has 25,000,000
MAX_LEVEL: Final = 4 << 20

MAX_CHILDREN: Final = 256  # a label is an octet

_STEP: Final = 1 << 13  # words turned into bits at a time
_VALUES: Final = bytes.maketrans(b"01", b"\0\1")


def read_keys(leaves: "array[int]", bitmap: "array[int]", labels: bytes, name: str) -> list[str]:
    """Return the keys, turned to read forwards, the shortest first.

    Raises RuleError where the trie contradicts itself or is larger than we accept.
    """
    if len(labels) > MAX_LABELS:
        raise broken(name, f"the trie has more than {MAX_LABELS} nodes")
    ends = _Bits(leaves)
    edges = _Runs(bitmap)
    octets = labels.decode("latin-1")
    keys: list[str] = []
    level = [""]
    at = 0
    total = 0
    for length in range(MAX_KEY_LEN + 1):
        runs = edges.take(len(level))
        behind = at + sum(map(len, runs))
        if len(runs) < len(level) or behind > len(octets):
            raise broken(name, f"the trie of names is damaged ({len(keys)} names up to {length} octets long)")
        ended = ends.take(len(level))
        if 1 in ended:
            before = len(keys)
            keys.extend(compress(level, ended))
            total += length * (len(keys) - before)
        if total > MAX_KEYS_LEN or behind - at > MAX_LEVEL:
            raise broken(name, f"the trie holds too many names ({len(keys)} up to {length} octets long)")
        if behind == at:
            if at != len(octets):
                raise broken(name, "the trie of names is damaged (labels are left over)")
            return keys if octets.isascii() else [decoded(key) for key in keys]
        # Each node's text once for each child, and the child's label before it; all of it in C.
        parents = chain.from_iterable(map(repeat, level, map(len, runs)))
        level = list(map(add, octets[at:behind], parents))
        at = behind
    raise broken(name, f"the trie holds a name of more than {MAX_KEY_LEN} octets")


class _Bits:
    """Bits of words, from the first on, as octets 0 and 1; zeros behind the last.

    Converted in steps, because an octet for each bit of a large set is too much at once.
    """

    def __init__(self, words: "array[int]") -> None:
        self._words = words
        self._word_at = 0
        self._bits = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next count bits."""
        parts = []
        while count:
            part = self._bits[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
            if count:
                self._at = 0
                words = self._words[self._word_at : self._word_at + _STEP]
                self._word_at += len(words)
                self._bits = _bit_text(words).encode().translate(_VALUES) if words else bytes(count)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _Runs:
    """The runs of zeros, each before a one, in the bits of words: text as long as a node has children."""

    def __init__(self, words: "array[int]") -> None:
        self._words = words
        self._word_at = 0
        self._runs: list[str] = []
        self._at = 0
        self._rest = ""  # zeros whose one is still to come

    def take(self, count: int) -> list[str]:
        """Return the next count runs; fewer where there are no more, or one is too long for a node."""
        taken = self._runs[self._at : self._at + count]
        self._at += len(taken)
        while len(taken) < count:
            words = self._words[self._word_at : self._word_at + _STEP]
            if not words or len(self._rest) > MAX_CHILDREN:
                return taken
            self._word_at += len(words)
            self._runs = (self._rest + _bit_text(words)).split("1")
            self._rest = self._runs.pop()
            self._at = min(count - len(taken), len(self._runs))
            taken += self._runs[: self._at]
        return taken


def _bit_text(words: "array[int]") -> str:
    """Return the bits as digits."""
    number = int.from_bytes(little_endian(words), "little")
    return f"{number:0{64 * len(words)}b}"[::-1]


def little_endian(words: "array[int]") -> bytes:
    """Return the words' octets, the low one first."""
    if sys.byteorder == "little":
        return words.tobytes()
    swapped = words[:]
    swapped.byteswap()
    return swapped.tobytes()


def decoded(key: str) -> str:
    """Return a key of octets as text: its characters were written backwards, but not the octets of one."""
    if key.isascii():
        return key
    return key[::-1].encode("latin-1").decode("utf-8", "replace")[::-1]


def write_keys(keys: list[str]) -> tuple["array[int]", "array[int]", bytes]:
    """Return leaves, bitmap and labels of the trie that holds the keys, which read forwards."""
    stored = sorted({key[::-1].encode() for key in keys})
    leaves: list[int] = []
    edges: list[int] = []
    labels = bytearray()
    ranges = [(0, len(stored), 0)]  # which keys a node leads to, and how many of their octets led there
    for start, end, depth in ranges:
        if start < end and len(stored[start]) == depth:
            leaves.append(len(edges) - len(labels))  # one 1 for each node before this one
            start += 1
        while start < end:
            label = stored[start][depth]
            behind = start + 1
            while behind < end and stored[behind][depth] == label:
                behind += 1
            ranges.append((start, behind, depth + 1))
            labels.append(label)
            edges.append(0)
            start = behind
        edges.append(1)
    return _words(leaves), _words([at for at, bit in enumerate(edges) if bit]), bytes(labels)


def _words(ones: list[int]) -> "array[int]":
    """Return words in which the bits with these numbers, in ascending order, are set."""
    words = array("Q", bytes(8 * (ones[-1] // 64 + 1))) if ones else array("Q")
    for at in ones:
        words[at >> 6] |= 1 << (at & 63)
    return words
