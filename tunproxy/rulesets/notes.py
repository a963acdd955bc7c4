"""What a reader left out, and errors about a whole file."""

from typing import Final

from tunproxy.rules.model import Position, RuleError, RuleSetContent

# Our choice: enough for people to mend a list by. The rest is counted in the last note, so that a file full
# of rubbish does not take a hundred times its size in memory.
MAX_NOTES: Final = 10_000
_MORE: Final = "and {} more that cannot be read"


class Notes:
    """Write what was skipped into content.skipped, and count all of it; name is what the file is called."""

    def __init__(self, content: RuleSetContent, name: str) -> None:
        self.content = content
        self.name = name
        self.count = 0

    def skip(self, line: int, column: int, why: str) -> None:
        """Note that what stands at line and column (from 1) was left out."""
        self.count += 1
        if self.count <= MAX_NOTES:
            self.content.skipped.append((Position(self.name, line, column), why))
            return
        position = Position(self.name, line, column) if self.count == MAX_NOTES + 1 else self.last()
        del self.content.skipped[MAX_NOTES:]
        self.content.skipped.append((position, _MORE.format(self.count - MAX_NOTES)))

    def last(self) -> Position:
        """Return the position of the note that stands for all that have no room."""
        return self.content.skipped[MAX_NOTES][0]


def how_many(content: RuleSetContent) -> int:
    """Return how many entries were skipped, those included that the last note counts."""
    if len(content.skipped) <= MAX_NOTES:
        return len(content.skipped)
    return MAX_NOTES + int(content.skipped[MAX_NOTES][1].split()[1])


def broken(name: str, message: str) -> RuleError:
    """Return the error for a file that cannot be read as a whole."""
    return RuleError(Position(name, 1, 1), message)
