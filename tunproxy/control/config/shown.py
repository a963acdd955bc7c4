"""Lines of a configuration as messages show them: without secrets, and with the caret where it was.

Messages about a configuration go into logs and to whoever asks the API, and a password is often in the very
line that is wrong, or beside it.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from tunproxy.control.masking import MASK, masked_lines


class ShownLines:
    """The lines of one document. Secrets are looked for when the first line is asked for."""

    def __init__(self, text: str, secrets: Sequence[str] = ()) -> None:
        """text has LF at the ends of its lines; secrets are some that no key gives away."""
        self.lines: Final = text.split("\n")
        self._secrets: Final = sorted(filter(None, secrets), key=len, reverse=True)

    def line(self, number: int, column: int) -> tuple[str, int]:
        """Return what may be shown of a line, counted from 1, and the column there that column has become.

        "" where there is no such line.
        """
        if not 1 <= number <= len(self.lines):
            return "", column
        shown = self._masked[number - 1]
        return shown, column_in(shown, self.lines[number - 1], column)

    @cached_property
    def _masked(self) -> list[str]:
        text = "\n".join(self.lines)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return list(masked_lines(text))


def column_in(shown: str, line: str, column: int) -> int:
    """Return the column of shown, which is line with MASK for its secrets, that column of line has become.

    What is within a secret becomes the place of its mask.
    """
    if shown == line:
        return column
    pieces = shown.split(MASK)
    at, to = 0, 0  # how far line and shown have been compared
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        start = len(line) - len(piece) if is_last else line.find(piece, at)
        if start < at or column - 1 < start:  # within the mask in front of this piece
            return max(to - len(MASK), 0) + 1
        if is_last or column - 1 < start + len(piece):
            return to + column - start
        at, to = start + len(piece), to + len(piece) + len(MASK)
    raise AssertionError("the last piece ends every line")
