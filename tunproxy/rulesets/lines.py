"""Text files: octets to lines, in pieces, so that a million lines are never there as a million objects."""

from collections.abc import Iterator
from typing import Final

from tunproxy.rulesets.notes import broken

_PIECE: Final = 1 << 16  # octets looked at together: small enough that a comment slows few lines down
_MAX_LINE_LEN: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"

# What names with wildcards are made of. A piece with nothing else needs no look at each character.
PATTERN_OCTETS: Final = b"abcdefghijklmnopqrstuvwxyz0123456789.-_+*\n\r"


def text_pieces(data: bytes, name: str) -> Iterator[bytes]:
    """Yield data in pieces of whole lines, line ends included; raises RuleError for binary data."""
    if b"\0" in data:
        raise broken(name, "not a text file (it holds NUL octets)")
    at = len(_BOM) if data.startswith(_BOM) else 0
    while at < len(data):
        end = data.find(b"\n", at + _PIECE) + 1 or len(data)
        yield data[at:end]
        at = end


def lines_of(data: bytes, name: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines, without blanks at either end."""
    number = 0
    for piece in text_pieces(data, name):
        for line in split(piece):
            number += 1
            yield number, line


def split(piece: bytes) -> list[str]:
    """Return the lines of a piece, stripped. What is not UTF-8 becomes U+FFFD, which no item may have."""
    text = piece.decode("utf-8", "replace")
    lines = text.split("\n")
    if text.endswith("\n"):
        lines.pop()
    return [line.strip() if len(line) <= _MAX_LINE_LEN else "\ufffd (the line is too long)" for line in lines]


def only_patterns(piece: bytes) -> bool:
    """Return whether piece can hold no line that must be looked at one by one, but for wildcards.

    True means: every character may stand in a name, and no name has an empty label or a dot at its end.
    """
    return (
        not piece.translate(None, PATTERN_OCTETS)
        and b".." not in piece
        and b".\n" not in piece
        and b".\r" not in piece
        and not piece.endswith(b".")
    )


def split_comment(line: str) -> str:
    """Return the line without a comment that begins with a blank and #."""
    at = line.find(" #")
    if at < 0 and "\t#" not in line:
        return line
    tab = line.find("\t#")
    return line[: min(place for place in (at, tab) if place >= 0)].rstrip()
