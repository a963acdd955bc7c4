"""Host names in rules: a set of names, an index of rules by name, and Clash's patterns with `*` labels.

A name and everything below it is looked up label by label from the whole name on: `a.b.com`, `b.com`,
`com`, each one look-up of a dict. That beats a trie here: a dict is the one container with native speed,
a name has four labels, and a million names take no object besides their text.
"""

from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.numbers import NONE, KeyIndex, Numbers

# What a set holds of a name, as bits.
EXACT: Final = 1  # the name itself
BELOW: Final = 2  # every name below it
SUFFIX: Final = EXACT | BELOW


@final
@mypyc_attr(native_class=True)
class LabelNode:
    """A label of patterns, reached from the labels after it."""

    def __init__(self) -> None:
        self.children: dict[str, LabelNode] = {}
        self.here: Numbers = Numbers()
        self.below: Numbers = Numbers()


@final
@mypyc_attr(native_class=True)
class LabelTrie:
    """Clash's patterns: `*` is one whole label; `+.` leads a name and all below it, `.` only those below."""

    def __init__(self) -> None:
        self.root: Final = LabelNode()
        self.empty = True

    def add(self, pattern: str, number: i64) -> None:
        """Let the names that pattern describes find number."""
        self.empty = False
        plus = pattern.startswith("+.")
        below = plus or pattern.startswith(".")
        name = pattern[2:] if plus else pattern[1:] if below else pattern
        node = self.root
        for label in reversed(name.split(".")):
            child = node.children.get(label)
            if child is None:
                child = LabelNode()
                node.children[label] = child
            node = child
        if below:
            node.below.add(number)
        if plus or not below:
            node.here.add(number)

    def next(self, host: str, start: i64) -> i64:
        """Return the lowest number, not below start, of a pattern that describes host, or NONE."""
        if self.empty:
            return NONE
        labels = host.split(".")
        return lowest_below(self.root, labels, len(labels) - 1, start)


def lowest_below(node: LabelNode, labels: list[str], at: i64, start: i64) -> i64:
    """Return what the patterns from node on make of the labels up to at."""
    if at < 0:
        return node.here.next(start)
    best = node.below.next(start)
    child = node.children.get(labels[at])
    if child is not None:
        number = lowest_below(child, labels, at - 1, start)
        if number < best:
            best = number
    child = node.children.get("*")
    if child is not None:
        number = lowest_below(child, labels, at - 1, start)
        if number < best:
            best = number
    return best


def mark(names: dict[str, int], more: Iterable[str], bits: int) -> None:
    """Add bits to what names holds of each of more."""
    for name in more:
        names[name] = names.get(name, 0) | bits


@final
@mypyc_attr(native_class=True)
class DomainSet:
    """Whether a name is one of many; a million names take their text and 42 MB."""

    def __init__(self, exact: list[str], suffix: list[str], below: list[str], wildcard: list[str]) -> None:
        # The largest share in one call of C, the others one by one.
        self.names: dict[str, int]
        if len(exact) > len(suffix):
            self.names = dict.fromkeys(exact, EXACT)
            mark(self.names, suffix, SUFFIX)
        else:
            self.names = dict.fromkeys(suffix, SUFFIX)
            mark(self.names, exact, EXACT)
        mark(self.names, below, BELOW)
        self.patterns: Final = LabelTrie()
        for pattern in wildcard:
            self.patterns.add(pattern, 0)
        self.empty: Final = not self.names and not wildcard

    def entry(self, host: str) -> str:
        """Return the entry that host, in lower case, is in the set by; "" if none. "*" is some pattern."""
        names = self.names
        found = names.get(host)
        if found is not None and found & EXACT:
            return host
        at: i64 = host.find(".")
        while at >= 0:
            name = host[at + 1 :]
            found = names.get(name)
            if found is not None and found & BELOW:
                return name
            at = host.find(".", at + 1)
        return "*" if self.patterns.next(host, 0) != NONE else ""

    def has(self, host: str) -> bool:
        """Return whether host, in lower case, is in the set."""
        return self.entry(host) != ""


@final
@mypyc_attr(native_class=True)
class DomainIndex:
    """The lowest rule, at or after a given one, among DOMAIN and DOMAIN-SUFFIX rules that a name meets."""

    def __init__(self) -> None:
        self.exact: Final = KeyIndex()
        self.suffix: Final = KeyIndex()

    def next(self, host: str, start: i64) -> i64:
        """Return that rule's number, or NONE."""
        best = self.exact.next(host, start)
        if not self.suffix.first:
            return best
        number = self.suffix.next(host, start)
        if number < best:
            best = number
        at: i64 = host.find(".")
        while at >= 0:
            number = self.suffix.next(host[at + 1 :], start)
            if number < best:
                best = number
            at = host.find(".", at + 1)
        return best
