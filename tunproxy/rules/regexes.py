"""Regular expressions as Go's RE2 understands them, and look-around, run by whatever is fast and safe.

``regex_syntax`` reads them into a tree in which nothing is left of what `re` understands otherwise: `$`
before a newline, `\\d` of other scripts, `(?i)` in the middle, `{,3}`. From the tree comes a pattern for
`re`, which is written in C but may take exponential time. Where the tree has the shape that leads to that, or
has look-around, it becomes a program for ``Linear`` instead, which never does.
"""

import re

from tunproxy.rules.expressions import (
    AT,
    CHARACTER,
    DONE,
    JUMP,
    LOOK,
    SPLIT,
    Backtracking,
    Expression,
    Linear,
    Program,
)
from tunproxy.rules.regex_syntax import Node, Ranges, Reader, RegexError

MAX_LENGTH = 1000  # our choice: the longest expression in public rule sets has some 500 characters
MAX_PROGRAM = 5000  # our choice: steps of an expression whose counts are written out

Step = tuple[int, int, int]

# Assertions, by their numbers, as `re` writes them.
AS_RE = (r"\A", r"\Z", "(?m:^)", "(?m:$)", r"(?a:\b)", r"(?a:\B)")


def compile_regex(text: str) -> Expression:
    """Return text ready to be searched for; raises RegexError."""
    if len(text) > MAX_LENGTH:
        raise RegexError(
            f"expression of {len(text)} characters is too long (at most {MAX_LENGTH})", MAX_LENGTH
        )
    tree = Reader(text).read()
    if _size(tree) > MAX_PROGRAM:
        raise RegexError("expression is too large with its counts written out", 0)
    if _looks_around(tree) or is_risky(tree):
        return linear(tree)
    return Backtracking(re.compile(_as_re(tree)))


def is_risky(tree: Node) -> bool:
    """Return whether `re` could take long: a choice within a loop, or many choices one after the other."""
    return _loops_over_choice(tree) or _count(tree, loops=True) > 2 or _count(tree, loops=False) > 8


def _looks_around(node: Node) -> bool:
    return node.kind in ("ahead", "behind") or any(_looks_around(part) for part in node.parts)


def _varies(node: Node) -> bool:
    return node.kind == "any" or (node.kind == "repeat" and node.low != node.high)


def _loops_over_choice(node: Node) -> bool:
    inside = node.kind == "repeat" and node.high != 1
    return any((inside and _has_choice(part)) or _loops_over_choice(part) for part in node.parts)


def _has_choice(node: Node) -> bool:
    return _varies(node) or any(_has_choice(part) for part in node.parts)


def _count(node: Node, *, loops: bool) -> int:
    """Return how many repetitions of no fixed number there are (loops), or choices of any kind."""
    own = _varies(node) and (not loops or (node.kind == "repeat" and node.high != 1))
    return int(own) + sum(_count(part, loops=loops) for part in node.parts)


def _size(node: Node) -> int:
    inner = sum(_size(part) for part in node.parts) + 1
    return inner * max(node.low, node.high, 1) if node.kind == "repeat" else inner


def _as_re(node: Node) -> str:
    if node.kind == "set":
        if not node.ranges:
            return r"[^\x00-\U0010ffff]"
        return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in node.ranges) + "]"
    if node.kind == "at":
        return AS_RE[node.which]
    if node.kind == "repeat":
        high = "" if node.high < 0 else node.high
        return f"(?:{_as_re(node.parts[0])}){{{node.low},{high}}}"
    return "(?:" + ("|" if node.kind == "any" else "").join(_as_re(part) for part in node.parts) + ")"


def linear(tree: Node) -> Linear:
    writer = _Writer()
    return Linear(Program(writer.steps_of(tree, backward=False), False), writer.looks, writer.sets)


class _Writer:
    """Writes programs: one for the expression, and one for each look-around in it."""

    def __init__(self) -> None:
        self.sets: list[Ranges] = []
        self.looks: list[Program] = []  # those within another one come before it

    def steps_of(self, tree: Node, *, backward: bool) -> list[Step]:
        """Return the steps that find tree, read from left to right, or backward from right to left."""
        steps: list[Step] = []
        self._emit(tree, steps, backward)
        steps.append((int(DONE), 0, 0))
        return steps

    def _emit(self, node: Node, steps: list[Step], backward: bool) -> None:
        if node.kind == "set":
            self.sets.append(node.ranges)
            steps.append((int(CHARACTER), len(self.sets) - 1, 0))
        elif node.kind == "at":
            steps.append((int(AT), node.which, 0))
        elif node.kind == "all":
            for part in reversed(node.parts) if backward else node.parts:
                self._emit(part, steps, backward)
        elif node.kind == "any":
            self._emit_any(node, steps, backward)
        elif node.kind == "repeat":
            self._emit_repeat(node, steps, backward)
        else:
            # What lies ahead of a place is found by those who come from the end.
            ahead = node.kind == "ahead"
            self.looks.append(Program(self.steps_of(node.parts[0], backward=ahead), ahead))
            steps.append((int(LOOK), len(self.looks) - 1, int(node.negated)))

    def _emit_repeat(self, node: Node, steps: list[Step], backward: bool) -> None:
        for _ in range(node.low):
            self._emit(node.parts[0], steps, backward)
        if node.high < 0:
            split = len(steps)
            steps.append((int(SPLIT), 0, 0))
            self._emit(node.parts[0], steps, backward)
            steps.append((int(JUMP), split, 0))
            steps[split] = (int(SPLIT), split + 1, len(steps))
            return
        splits = []
        for _ in range(node.high - node.low):
            splits.append(len(steps))
            steps.append((int(SPLIT), 0, 0))
            self._emit(node.parts[0], steps, backward)
        for split in splits:
            steps[split] = (int(SPLIT), split + 1, len(steps))

    def _emit_any(self, node: Node, steps: list[Step], backward: bool) -> None:
        jumps = []
        for part in node.parts[:-1]:
            split = len(steps)
            steps.append((int(SPLIT), 0, 0))
            self._emit(part, steps, backward)
            jumps.append(len(steps))
            steps.append((int(JUMP), 0, 0))
            steps[split] = (int(SPLIT), split + 1, len(steps))
        self._emit(node.parts[-1], steps, backward)
        for jump in jumps:
            steps[jump] = (int(JUMP), len(steps), 0)
