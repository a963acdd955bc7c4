"""The host in an HTTP/1 request (RFC 9112 §3.2)."""

import re
from typing import Final

_MAX_METHOD: Final = 20  # our choice: the longest registered has 17 letters
_METHOD: Final = re.compile(rb"[A-Z-]{1,%d}" % _MAX_METHOD)
_REQUEST: Final = re.compile(rb"[A-Z-]{1,%d} [^ \r\n]+ HTTP/1\.[01]\r?\n" % _MAX_METHOD)
_HOST: Final = re.compile(rb"^host:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.I | re.M)
_ABSOLUTE: Final = re.compile(rb"[A-Z-]+ https?://(?:[^/@\s]*@)?([^/\s]+)", re.I)


def host_in_request(data: bytes) -> str | None:
    """Return the host that a request is for, without its port: "" for none, None if more is needed."""
    line, has_line, _ = data.partition(b"\n")
    if not has_line:
        word, has_word, _ = line.partition(b" ")
        if not _METHOD.fullmatch(word) and (has_word or word):
            return ""
        return None
    if not _REQUEST.match(data):
        return ""
    head, has_end, _ = data.partition(b"\r\n\r\n")
    absolute = _ABSOLUTE.match(line)  # overrides the field (RFC 9112 §3.2.2)
    if absolute:
        return _without_port(absolute[1])
    complete = head if has_end else data[: data.rfind(b"\n") + 1]
    field = _HOST.search(complete)
    if field:
        return _without_port(field[1])
    return "" if has_end else None


def _without_port(authority: bytes) -> str:
    text = authority.decode("ascii", "replace")
    if text.startswith("["):
        return text
    return text.partition(":")[0]
