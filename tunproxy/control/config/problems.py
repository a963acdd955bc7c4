"""What is wrong with a file: everything at once, each with its place and the line."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.errors import ConfigError
from tunproxy.rules.model import Position, RuleError

# our choices
SHOWN: Final = 160  # letters of a line; of a longer one we show those around the place
BEFORE: Final = 100  # letters in front of the place, of a longer line
CUT: Final = "…"
BEGUN: Final = 4  # letters of a word that another one begins with, to be what was meant
TOLD: Final = 100  # problems of a configuration; more are a number


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; line is the text of the line it is in, "" where there is none to show.

    caret is the column of line that is meant, 0 for that of position: secrets have been taken out of line.
    """

    position: Position
    message: str
    line: str = ""
    caret: int = 0

    def __str__(self) -> str:
        if not self.line:
            return f"{self.position}: {self.message}"
        shown, at = excerpt(self.line, self.caret or self.position.column)
        return f"{self.position}: {self.message}\n    {shown}\n    {' ' * (at - 1)}^"


class ConfigProblems(ConfigError):
    """A configuration cannot be used; reads as one paragraph for each problem, in the order of the file.

    None is told twice. what says what cannot be used, where it is something else. Beyond TOLD of them the
    rest is counted.
    """

    def __init__(self, problems: Iterable[Problem], what: str = "the configuration") -> None:
        self.problems = sorted(
            dict.fromkeys(problems),
            key=lambda each: (each.position.file, each.position.line, each.position.column),
        )
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        rest = [f"… and {count - TOLD:,} more"] if count > TOLD else []
        super().__init__("\n".join([f"cannot use {what}: {head}", *map(str, self.problems[:TOLD]), *rest]))


def excerpt(line: str, column: int) -> tuple[str, int]:
    """Return what to show of a line, in printable letters, and the column in it that column has become."""
    start = max(0, column - 1 - BEFORE) if len(line) > SHOWN else 0
    end = start + SHOWN
    shown = "".join(letter if letter.isprintable() else " " for letter in line[start:end])
    head, tail = CUT if start else "", CUT if end < len(line) else ""
    return f"{head}{shown}{tail}", column - start + len(head)


def of_rule(error: RuleError, lines: Sequence[str]) -> Problem:
    """Return a rule's error as a problem; lines are those of its file."""
    at = error.position.line - 1
    hint = f" (did you mean {error.suggestion!r}?)" if error.suggestion else ""
    return Problem(error.position, error.message + hint, lines[at] if 0 <= at < len(lines) else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint in parentheses, with a blank before it: the word that was meant, or all there are."""
    there = sorted(known)
    folded = {name.lower(): name for name in reversed(there)}
    begun = [
        name for name in folded if len(name) >= BEGUN and word.lower().startswith(name)
    ]  # username: user
    close = begun if len(begun) == 1 else difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {folded[close[0]]!r}?)"
    return f" (there are: {', '.join(there)})" if there else ""
