"""Names as mihomo's .mrs keeps them, asked as they are: a trie in bits ("LOUDS"), a name's last octet first.

Nodes are numbered level by level, the root 0. ``bitmap`` has, for each node in order, a 0 for each child and
then a 1; ``labels`` has the children's octets in the same order, so that the child of label i is node i + 1;
``leaves`` has a 1 for each node where a key ends. Bit i is bit i % 8, from the low end, of octet i // 8.
The children of node n begin behind the n-th 1, so one table is enough to walk it: where each 8th 1 is.

Keys are names; `+.name` stands for every name below it. A million names, which are two million keys, take
21 MB, an eighth of what they take as text. Keys with a `*` are not asked for here (``rulesets.unfold``).
"""

from array import array
from itertools import compress, islice
from sys import byteorder
from typing import Final, final

from librt.strings import read_i64_le
from mypy_extensions import i64, mypyc_attr

# The table has 8 octets for each 8th 1: in the low 27 bits its place, above them the bits from there on. Most
# often they reach to the next 1 in the table, and the bitmap is not read at all.
STEP: Final = 8
PLACE: Final = 27
NEAR: Final = 36
MAX_BITS: Final = 1 << 27
_PLACE_MASK: Final = (1 << 27) - 1
_NEAR_MASK: Final = (1 << 36) - 1
WORD: Final = 56  # bits that are there whichever bit of an octet is the first
_MASK: Final = (1 << 56) - 1
MAX_CHILDREN: Final = 256  # a label is an octet
_FIRST: Final = bytes([0] + [(number & -number).bit_length() - 1 for number in range(1, 256)])
_PADDING: Final = bytes(8)  # so that a word can be read from any octet

_PART: Final = 1 << 16  # octets turned into digits at a time
_VALUES: Final = bytes.maketrans(b"01", b"\0\1")

_DOT: Final = 46
_PLUS: Final = 43
_STAR: Final = 42


@final
@mypyc_attr(native_class=True)
class NameTrie:
    """Whether a name is one of many. Never changes; a damaged one answers wrongly, but always answers."""

    def __init__(self, leaves: bytes, bitmap: bytes, labels: bytes) -> None:
        """leaves and bitmap are the words, the low octet first."""
        self.leaves: Final = leaves + _PADDING
        self.bitmap: Final = bitmap + _PADDING
        self.labels: Final = labels
        ones, count, end = _table(self.bitmap, len(bitmap))
        self.ones: Final = ones + _PADDING
        self.nodes: Final[i64] = count
        # Every node has a label but the root. More is not checked: a walk stays inside, whatever is wrong.
        fits = count == len(labels) + 1 and end - count == len(labels)
        self.whole: Final = fits and end <= MAX_BITS

    def entry(self, host: str) -> str:
        """Return the entry that host, in lower case, is in the set by, the widest of them; "" if none."""
        if not self.whole:
            return ""
        name = host.encode("utf-8", "replace")
        node: i64 = 0
        at: i64 = len(name) - 1
        while at >= 0:
            octet: i64 = name[at]
            if octet == _STAR:
                return ""  # a pattern's, not a name's
            node = self.child(node, octet)
            if node == 0:
                return ""
            if octet == _DOT:
                below = self.child(node, _PLUS)
                if below != 0 and at > 0 and self.is_leaf(below):
                    return name[at + 1 :].decode()
            at -= 1
        return host if node != 0 and self.is_leaf(node) else ""

    def has(self, host: str) -> bool:
        """Return whether host, in lower case, is in the set."""
        return self.entry(host) != ""

    def child(self, node: i64, octet: i64) -> i64:
        """Return the child of node, which there is, that octet leads to; 0 if there is none."""
        at, bits, known = self.behind(node)
        label = at - node
        labels = self.labels
        end: i64 = len(labels)
        if end > label + MAX_CHILDREN:
            end = label + MAX_CHILDREN
        while label < end:
            if known == 0:
                bits = _word(self.bitmap, at)
                known = WORD
            if bits & 1 != 0:
                return 0
            if i64(labels[label]) == octet:
                return label + 1
            bits >>= 1
            known -= 1
            at += 1
            label += 1
        return 0

    def children(self, node: i64) -> tuple[i64, i64]:
        """Return the first child of node, and the one that would be behind its last."""
        at, _, _ = self.behind(node)
        first = at - node + 1
        end = first
        while end <= len(self.labels) and (i64(self.bitmap[at >> 3]) >> (at & 7)) & 1 == 0:
            at += 1
            end += 1
        return first, end

    def parent(self, node: i64) -> i64:
        """Return whose child node, not the root, is."""
        low: i64 = 0
        high: i64 = self.nodes - 1
        # The first that has, together with all before it, as many children as node's number.
        while low < high:
            middle = (low + high) >> 1
            at, _, _ = self.behind(middle + 1)
            if at - middle - 1 >= node:
                high = middle
            else:
                low = middle + 1
        return low

    def is_leaf(self, node: i64) -> bool:
        """Return whether a key ends at node."""
        octet = node >> 3
        return octet < len(self.leaves) and (i64(self.leaves[octet]) >> (node & 7)) & 1 != 0

    def behind(self, node: i64) -> tuple[i64, i64, i64]:
        """Return the bit where the children of node, at most self.nodes, begin: behind as many 1s.

        And the bits from there on, the first the lowest, and of how many of them that is true.
        """
        if node <= 0:
            return 0, 0, 0
        last = node - 1
        entry: i64 = read_i64_le(self.ones, last & ~7)
        at = entry & _PLACE_MASK
        word = entry >> PLACE
        left = last & (STEP - 1)  # how many 1s after the one at bit `at`
        known = NEAR
        while True:
            while left > 0 and word != 0:
                word &= word - 1  # without its lowest 1
                left -= 1
            if word != 0:
                used = _lowest(word) + 1
                return at + used, word >> used, known - used
            at += known
            word = _word(self.bitmap, at)
            known = WORD


def _word(octets: bytes, at: i64) -> i64:
    """Return WORD bits from bit at on, the first the lowest."""
    return (i64(read_i64_le(octets, at >> 3)) >> (at & 7)) & _MASK


def _table(bitmap: bytes, length: int) -> tuple[bytes, int, int]:
    """Return the table of every 8th 1, the first included; how many 1s there are; the bit behind the last."""
    entries = array("q")
    count = end = 0
    for at in range(0, length, _PART):
        part = bitmap[at : min(at + _PART, length)]
        first = at * 8
        # Most of it in C, which is quick without a compiler too: a digit for each bit, the lowest first.
        digits = f"{int.from_bytes(part, 'little'):0{8 * len(part)}b}"[::-1].encode()
        bits = digits.translate(_VALUES)
        found = compress(range(first, min(first + len(bits), MAX_BITS)), bits)
        entries.extend([_entry(bitmap, place) for place in islice(found, -count % STEP, None, STEP)])
        count += bits.count(1)
        end = first + bits.rfind(1) + 1 if 1 in bits else end
    if byteorder == "big":
        entries.byteswap()
    return entries.tobytes(), count, end


def _entry(bitmap: bytes, place: i64) -> i64:
    return (_word(bitmap, place) & _NEAR_MASK) << PLACE | place


def _lowest(word: i64) -> i64:
    """Return the place of the lowest of the bits of word that are 1, of which there are some."""
    place: i64 = 0
    while word & 0xFF == 0:
        word >>= 8
        place += 8
    return place + i64(_FIRST[word & 0xFF])
