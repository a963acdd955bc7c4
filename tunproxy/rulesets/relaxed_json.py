"""JSON as sing-box reads it: with comments (`//`, `#`, `/* */`), and commas behind the last of a list."""

import re
from typing import Final

# What has no end goes on to the end of the file, so that each octet is looked at once.
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"?'
_COMMENTS: Final = re.compile(_STRING + rb"|(?://|#)[^\n]*|/\*(?:.*?\*/|.*)", re.DOTALL)
_COMMAS: Final = re.compile(_STRING + rb"|,(?=\s*[\]}])", re.DOTALL)
_NOT_NEWLINE: Final = re.compile(rb"[^\n]")


def plain_json(data: bytes) -> bytes:
    """Return data with blanks in place of comments and needless commas: all else stays where it was."""
    return _COMMAS.sub(_blank, _COMMENTS.sub(_blank, data))


def _blank(found: "re.Match[bytes]") -> bytes:
    text = found[0]
    return text if text.startswith(b'"') else _NOT_NEWLINE.sub(b" ", text)
