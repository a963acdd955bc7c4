"""The host in an HTTP/1 request (RFC 9112 §3.2)."""

import re
from typing import Final

from mypy_extensions import i64

_MAX_METHOD: Final = 20  # our choice: the longest registered has 17 letters
_METHOD: Final = re.compile(rb"[A-Z-]{1,%d}" % _MAX_METHOD)
_VERSIONS: Final = (b"HTTP/1.1\r", b"HTTP/1.1", b"HTTP/1.0\r", b"HTTP/1.0")
_ABSOLUTE: Final = re.compile(rb"[A-Z-]+ https?://(?:[^/@\s]*@)?([^/\s]+)", re.I)


def host_in_request(data: bytes) -> str | None:
    """Return the host that a request is for, without its port: "" for none, None if more is needed."""
    end: i64 = data.find(b"\n")
    if end < 0:
        word, has_word, _ = data.partition(b" ")
        if not _METHOD.fullmatch(word) and (has_word or word):
            return ""
        return None
    if not _is_request(data, end):
        return ""
    if data.find(b"://", 0, int(end)) >= 0:
        absolute = _ABSOLUTE.match(data[:end])  # overrides the field (RFC 9112 §3.2.2)
        if absolute:
            return _without_port(absolute[1])
    stop: i64 = data.find(b"\r\n\r\n", int(end) - 1)
    has_end = stop >= 0
    if not has_end:
        stop = data.rfind(b"\n")
    at = end + 1
    while at < stop:
        end = data.find(b"\n", int(at), int(stop))
        if end < 0:
            end = stop
        if i64(data[at]) | 0x20 == 0x68 and data[at : at + 5].lower() == b"host:":  # an h, of either size
            value = data[at + 5 : end].removesuffix(b"\r")
            if b"\r" not in value:
                return _without_port(value.strip(b" \t"))
        at = end + 1
    return "" if has_end else None


def _is_request(data: bytes, end: i64) -> bool:
    """Tell whether the line up to end is a method, a target and a version of HTTP/1."""
    first: i64 = data.find(b" ", 0, int(end))
    if not 1 <= first <= _MAX_METHOD:
        return False
    at: i64 = 0
    while at < first:
        letter = i64(data[at])
        if not (65 <= letter <= 90 or letter == 45):  # A to Z, and a hyphen
            return False
        at += 1
    second: i64 = data.find(b" ", int(first) + 1, int(end))
    if second <= first + 1 or data.find(b"\r", int(first), int(second)) >= 0:
        return False
    return data[second + 1 : end] in _VERSIONS


def _without_port(authority: bytes) -> str:
    text = authority.decode("ascii", "replace")
    if text.startswith("["):
        return text
    return text.partition(":")[0]
