"""Keywords in host names, all of them in one pass over the name (Aho and Corasick, 1975).

Nodes are prefixes of keywords. For each node and each kind of character the table holds the node to go on
with, as 32 bits, so that a character costs two reads. Characters that no keyword has are all of kind 0.
"""

from array import array
from sys import byteorder
from typing import Final, final

from librt.strings import read_i32_be
from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.numbers import NONE, Numbers

OCTETS: Final = 256  # host names are ASCII: a keyword that is not is never found


@final
@mypyc_attr(native_class=True)
class KeywordIndex:
    """The lowest rule, at or after a given one, among those whose keyword is in a text."""

    def __init__(self, entries: list[tuple[str, int]]) -> None:
        """entries are (keyword, rule number); a keyword that is empty or not ASCII is never found."""
        usable = [(word, number) for word, number in entries if word and word.isascii()]
        letters = sorted({letter for word, _ in usable for letter in word})
        self.empty: Final = not usable
        kinds = bytearray(OCTETS)
        for kind, letter in enumerate(letters):
            kinds[ord(letter)] = kind + 1
        self.kinds: Final = bytes(kinds)
        self.width: i64 = len(letters) + 1
        self.numbers: list[Numbers | None] = [None]  # by node: the rules of the keyword that ends there
        self.nearest: list[int] = [
            0
        ]  # by node: itself if a keyword ends there, else the next that is one's end
        self.after: list[int] = [0]  # by node: the nearest end of a shorter keyword, 0 for none
        self.ends = b""  # by node: whether there is a nearest one
        self.table = b""
        if usable:
            self._build(usable)

    def _build(self, usable: list[tuple[str, int]]) -> None:
        width = int(self.width)
        kinds = self.kinds
        steps: list[int] = [0] * width
        for word, number in usable:
            node = 0
            for letter in word:
                at = node * width + kinds[ord(letter)]
                if steps[at] == 0:
                    steps[at] = len(self.numbers)
                    steps.extend([0] * width)
                    self.numbers.append(None)
                node = steps[at]
            ends = self.numbers[node]
            if ends is None:
                ends = Numbers()
                self.numbers[node] = ends
            ends.add(number)
        self._link(steps, width)
        words = array("i", steps)
        if byteorder == "little":
            words.byteswap()
        self.table = words.tobytes()
        self.ends = bytes([end != 0 for end in self.nearest])

    def _link(self, steps: list[int], width: int) -> None:
        """Complete the steps: where a keyword does not go on, its longest suffix that is a prefix does."""
        count = len(self.numbers)
        self.nearest = [0] * count
        self.after = [0] * count
        fallback = [0] * count
        queue = [step for step in steps[:width] if step]
        for node in queue:
            self.after[node] = self.nearest[fallback[node]]
            self.nearest[node] = self.after[node] if self.numbers[node] is None else node
            for kind in range(1, width):
                step = steps[node * width + kind]
                other = steps[fallback[node] * width + kind]
                if step:
                    fallback[step] = other
                    queue.append(step)
                else:
                    steps[node * width + kind] = other

    def next(self, text: str, start: i64) -> i64:
        """Return the lowest number, not below start, of a keyword in text, or NONE."""
        best = NONE
        if self.empty:
            return best
        data = text.encode()
        kinds = self.kinds
        table = self.table
        ends = self.ends
        width = self.width
        node: i64 = 0
        at: i64 = 0
        length: i64 = len(data)
        while at < length:
            node = i64(read_i32_be(table, (node * width + i64(kinds[data[at]])) * 4))
            if ends[node]:
                number = self._at(node, start)
                if number < best:
                    best = number
            at += 1
        return best

    def _at(self, node: i64, start: i64) -> i64:
        """Return the lowest number, not below start, of the keywords that end at node, or NONE."""
        best = NONE
        end: i64 = self.nearest[node]
        while end != 0:
            numbers = self.numbers[end]
            assert numbers is not None
            number = numbers.next(start)
            if number < best:
                best = number
            end = self.after[end]
        return best
