"""The syntax of RE2, github.com/google/re2/wiki/Syntax, and look-around, read into a tree.

In the tree flags, escapes and classes have become plain sets of characters, and letters are in both cases
unless ``(?-i)`` says otherwise. RE2 has no look-around, but mihomo takes it. Back-references, for which there
is no linear time, are errors, as are Unicode classes (`\\pL`), which names in rules have no use for.
"""

import re
from dataclasses import dataclass, field

MAX_REPEAT = 1000  # RE2's
MAX_DEPTH = 100  # our choice: how deep groups nest
LAST = 0x10FFFF

DIGITS = [(48, 57)]
WORD = [(48, 57), (65, 90), (95, 95), (97, 122)]
BLANKS = [(9, 10), (12, 13), (32, 32)]
PERL = {"d": DIGITS, "w": WORD, "s": BLANKS}
CONTROL = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
POSIX = {
    "alnum": [(48, 57), (65, 90), (97, 122)],
    "alpha": [(65, 90), (97, 122)],
    "ascii": [(0, 127)],
    "blank": [(9, 9), (32, 32)],
    "cntrl": [(0, 31), (127, 127)],
    "digit": DIGITS,
    "graph": [(33, 126)],
    "lower": [(97, 122)],
    "print": [(32, 126)],
    "punct": [(33, 47), (58, 64), (91, 96), (123, 126)],
    "space": [(9, 13), (32, 32)],
    "upper": [(65, 90)],
    "word": WORD,
    "xdigit": [(48, 57), (65, 70), (97, 102)],
}
# Assertions, numbered as in ``expressions``.
BEGIN, END, LINE_BEGIN, LINE_END, WORD_EDGE, NO_WORD_EDGE = range(6)
# Look-around: (what begins it, whether behind, whether its part must not be there).
LOOKS = (("=", False, False), ("!", False, True), ("<=", True, False), ("<!", True, True))

Ranges = list[tuple[int, int]]


class RegexError(ValueError):
    """An expression is wrong: why, and at which character, counted from 0."""

    def __init__(self, message: str, at: int) -> None:
        self.at = at
        super().__init__(message)


@dataclass(slots=True)
class Node:
    """A part of an expression.

    kind is "set", "at", "all" (one after the other), "any", "repeat", or "ahead" or "behind", which are
    look-around and have one part.
    """

    kind: str
    parts: list["Node"] = field(default_factory=list)
    ranges: Ranges = field(default_factory=list)
    low: int = 0
    high: int = -1  # -1: without limit
    which: int = 0
    negated: bool = False  # of "ahead" and "behind"


def inverted(ranges: Ranges) -> Ranges:
    """Return all other characters."""
    result, following = [], 0
    for first, last in sorted(ranges):
        if first > following:
            result.append((following, first - 1))
        following = max(following, last + 1)
    if following <= LAST:
        result.append((following, LAST))
    return result


def both_cases(ranges: Ranges) -> Ranges:
    """Return ranges and the same ASCII letters in the other case."""
    more = list(ranges)
    for first, last in ranges:
        for low, high, shift in ((65, 90, 32), (97, 122, -32)):
            if first <= high and last >= low:
                more.append((max(first, low) + shift, min(last, high) + shift))
    return more


class Reader:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.names: set[str] = set()

    def read(self) -> Node:
        """Return the whole expression as a tree; raises RegexError."""
        node = self._alternatives({"i": True, "m": False, "s": False})
        if self.at < len(self.text):
            raise RegexError("')' without '('", self.at)
        return node

    def _next(self, text: str) -> bool:
        """Return whether text comes next, and if so step over it."""
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def _alternatives(self, flags: dict[str, bool]) -> Node:
        """Read up to the end of the group; flags set in one alternative hold in the following ones."""
        alternatives = [Node("all")]
        while self.at < len(self.text) and self.text[self.at] != ")":
            if self._next("\\Q"):
                alternatives[-1].parts += self._quoted(flags)
            elif self._next("|"):
                alternatives.append(Node("all"))
            else:
                start = self.at
                node = self._atom(flags)
                if node is not None:
                    alternatives[-1].parts.append(self._repeated(node, start))
        return alternatives[0] if len(alternatives) == 1 else Node("any", alternatives)

    def _quoted(self, flags: dict[str, bool]) -> list[Node]:
        """Read up to `\\E`; a repetition after it is of the last character."""
        end = self.text.find("\\E", self.at)
        letters = self.text[self.at :] if end < 0 else self.text[self.at : end]
        start = self.at
        self.at = len(self.text) if end < 0 else end + 2
        nodes = [self._letter(letter, flags) for letter in letters]
        if nodes:
            nodes[-1] = self._repeated(nodes[-1], start)
        return nodes

    def _atom(self, flags: dict[str, bool]) -> Node | None:
        """Read one item; None where only flags have changed."""
        start = self.at
        letter = self.text[start]
        self.at += 1
        if letter == "(":
            return self._group(flags)
        if letter == "[":
            return self._class(flags)
        if letter == ".":
            return Node("set", ranges=[(0, LAST)] if flags["s"] else inverted([(10, 10)]))
        if letter == "^":
            return Node("at", which=LINE_BEGIN if flags["m"] else BEGIN)
        if letter == "$":
            return Node("at", which=LINE_END if flags["m"] else END)
        if letter in "*+?":
            raise RegexError(f"nothing to repeat before {letter!r}", start)
        if letter == "{" and self._counts(start) is not None:
            raise RegexError("nothing to repeat before '{'", start)
        if letter == "\\":
            return self._escape(flags)
        return self._letter(letter, flags)

    def _letter(self, letter: str, flags: dict[str, bool]) -> Node:
        return Node("set", ranges=self._folded([(ord(letter), ord(letter))], flags))

    def _folded(self, ranges: Ranges, flags: dict[str, bool]) -> Ranges:
        return both_cases(ranges) if flags["i"] else ranges

    def _counts(self, start: int) -> tuple[int, int, int] | None:
        """Return (lowest, highest, length) of a count like {2,5} at start, or None: then `{` is a letter."""
        found = re.compile(r"\{(\d+)(,(\d*))?\}", re.ASCII).match(self.text, start)
        if found is None:
            return None
        low = int(found[1][:6])
        high = low if found[2] is None else int(found[3][:6]) if found[3] else -1
        if low > MAX_REPEAT or high > MAX_REPEAT or -1 < high < low:
            raise RegexError(f"count {found[0]} is not within 0 to {MAX_REPEAT}", start)
        return low, high, len(found[0])

    def _repeated(self, node: Node, start: int) -> Node:
        """Return node with the repetition that follows it."""
        if self.at >= len(self.text):
            return node
        letter = self.text[self.at]
        counts = self._counts(self.at) if letter == "{" else None
        if counts is not None:
            low, high, length = counts
        elif letter in "*+?":
            low, high, length = int(letter == "+"), 1 if letter == "?" else -1, 1
        else:
            return node
        self.at += length
        self._next("?")  # fewest first: which text is found differs, not whether
        if self.at < len(self.text) and (
            self.text[self.at] in "*+?" or (self.text[self.at] == "{" and self._counts(self.at))
        ):
            raise RegexError(f"repetition of the repetition {self.text[start : self.at]!r}", self.at)
        return Node("repeat", [node], low=low, high=high)

    def _group(self, flags: dict[str, bool]) -> Node | None:
        start = self.at - 1
        inner = dict(flags)
        look: Node | None = None
        if self._next("?"):
            look = self._look()
            named = re.compile(r"P?<([A-Za-z_]\w*)>", re.ASCII).match(self.text, self.at)
            if look is None and named is not None:
                if named[1] in self.names:
                    raise RegexError(f"second group called {named[1]!r}", start)
                self.names.add(named[1])
                self.at = named.end()
            elif look is None and not self._flags(inner, start):
                flags.update(inner)
                return None
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RegexError("groups nest too deep", start)
        node = self._alternatives(inner)
        self.depth -= 1
        if not self._next(")"):
            raise RegexError("'(' without ')'", start)
        if look is not None:
            look.parts.append(node)
        return node if look is None else look

    def _look(self) -> Node | None:
        """Read after `(?` what begins look-around; None: it is another kind of group."""
        for text, behind, negated in LOOKS:
            if self._next(text):
                return Node("behind" if behind else "ahead", negated=negated)
        return None

    def _flags(self, flags: dict[str, bool], start: int) -> bool:
        """Read flags after `(?`; return whether a group follows (`(?i:`) or not (`(?i)`)."""
        for text, what in (
            (">", "an atomic group"),
            ("P=", "a back-reference"),
            ("#", "a comment"),
        ):
            if self.text.startswith(text, self.at):
                raise RegexError(f"{what} is not part of RE2", start)
        value, seen = True, False
        while self.at < len(self.text):
            letter = self.text[self.at]
            self.at += 1
            if letter in "imsU":
                flags[letter] = value
                seen = True
            elif letter == "-" and value:
                value, seen = False, False
            elif letter in ":)" and (value or seen):
                return letter == ":"
            else:
                break
        raise RegexError("unknown kind of group", start)

    def _escape(self, flags: dict[str, bool]) -> Node:
        start = self.at - 1
        for letter, which in (("A", BEGIN), ("z", END), ("b", WORD_EDGE), ("B", NO_WORD_EDGE)):
            if self._next(letter):
                return Node("at", which=which)
        perl = self._perl()
        if perl is not None:
            return Node("set", ranges=perl)
        code = self._code(start)
        return Node("set", ranges=self._folded([(code, code)], flags))

    def _perl(self) -> Ranges | None:
        """Read what follows a backslash if it is the letter of a class."""
        letter = self.text[self.at : self.at + 1]
        if letter.lower() not in PERL or not letter:
            return None
        self.at += 1
        ranges = PERL[letter.lower()]
        return ranges if letter.islower() else inverted(ranges)

    def _code(self, start: int) -> int:
        """Read what follows a backslash, one character in the end."""
        if self.at >= len(self.text):
            raise RegexError("backslash at the end", start)
        octal = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}").match(self.text, self.at)
        if octal is not None:
            self.at = octal.end()
            return int(octal[0], 8)
        hexadecimal = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})").match(self.text, self.at)
        if hexadecimal is not None and int(hexadecimal[1] or hexadecimal[2], 16) <= LAST:
            self.at = hexadecimal.end()
            return int(hexadecimal[1] or hexadecimal[2], 16)
        letter = self.text[self.at]
        self.at += 1
        if letter in CONTROL:
            return CONTROL[letter]
        if letter.isascii() and not letter.isalnum():
            return ord(letter)
        if letter in "123456789k":
            raise RegexError("a back-reference is not part of RE2", start)
        if letter in "pP":
            raise RegexError("Unicode classes are not supported", start)
        raise RegexError(f"unknown escape '\\{letter}'", start)

    def _class(self, flags: dict[str, bool]) -> Node:
        start = self.at - 1
        negated = self._next("^")
        ranges: Ranges = []
        first = True
        while first or not self._next("]"):
            first = False
            if self.at >= len(self.text):
                raise RegexError("'[' without ']'", start)
            posix = re.compile(r"\[:(\^?)(\w+):\]").match(self.text, self.at)
            if posix is not None:
                if posix[2] not in POSIX:
                    raise RegexError(f"unknown class {posix[0]!r}", self.at)
                self.at = posix.end()
                ranges += inverted(POSIX[posix[2]]) if posix[1] else POSIX[posix[2]]
                continue
            if self._next("\\"):
                perl = self._perl()
                if perl is not None:
                    ranges += perl
                    continue
                self.at -= 1
            ranges.append(self._range())
        ranges = self._folded(ranges, flags)
        # RE2 keeps `[^a]` from a newline only where asked to; Go never does.
        return Node("set", ranges=inverted(ranges) if negated else inverted(inverted(ranges)))

    def _range(self) -> tuple[int, int]:
        start = self.at
        first = self._member()
        following = self.text[self.at : self.at + 2]
        if following[:1] != "-" or following in ("-", "-]"):
            return first, first
        self.at += 1
        last = self._member()
        if last < first:
            raise RegexError(f"range {self.text[start : self.at]!r} is the wrong way round", start)
        return first, last

    def _member(self) -> int:
        start = self.at
        if start >= len(self.text):
            raise RegexError("'[' without ']'", start)
        self.at += 1
        return self._code(start) if self.text[start] == "\\" else ord(self.text[start])
