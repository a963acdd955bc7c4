"""The server name in a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3)."""

from typing import Final

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = b"\x01"
_SERVER_NAME: Final = 0
_RECORD_HEADER: Final = 5
_MAX_HELLO: Final = 1 << 16  # our choice; the length field could say 16 MB


def server_name_in_records(data: bytes) -> str | None:
    """Return the name in the ClientHello that a stream begins with: "" for none, None if more is needed.

    The message may be cut into records anywhere (RFC 8446 §5.1).
    """
    hello = b""
    at = 0
    while len(data) - at >= _RECORD_HEADER:
        if data[at] != _HANDSHAKE or data[at + 1] != 3:
            return ""
        size = _u16(data, at + 3)
        if size == 0:
            return ""
        hello += data[at + _RECORD_HEADER : at + _RECORD_HEADER + size]
        at += _RECORD_HEADER + size
        found = server_name_in_hello(hello)
        if found is not None:
            return found
    return None


def server_name_in_hello(hello: bytes) -> str | None:
    """Return the name in a handshake message: "" for none, None if more of the message is needed."""
    if hello[:1] not in (b"", _CLIENT_HELLO):
        return ""
    if len(hello) < 4:
        return None
    size = int.from_bytes(hello[1:4], "big")
    if size > _MAX_HELLO:
        return ""
    if len(hello) < 4 + size:
        return None
    try:
        return _in_body(hello[4 : 4 + size])
    except IndexError:
        return ""  # lengths that contradict each other


def _in_body(body: bytes) -> str:
    at = 2 + 32  # version and random
    at += 1 + body[at]  # session
    at += 2 + _u16(body, at)  # cipher suites
    at += 1 + body[at]  # compression methods
    if at == len(body):
        return ""
    end = at + 2 + _u16(body, at)
    at += 2
    while at + 4 <= end:
        kind, size = _u16(body, at), _u16(body, at + 2)
        at += 4
        if kind == _SERVER_NAME:
            return _first_name(body[at : at + size])
        at += size
    return ""


def _first_name(names: bytes) -> str:
    """Return the first host name of the extension (RFC 6066 §3)."""
    at = 2
    while at + 3 <= len(names):
        kind, size = names[at], _u16(names, at + 1)
        at += 3
        if kind == 0 and at + size <= len(names):
            return names[at : at + size].decode("ascii", "replace")
        at += size
    return ""


def _u16(data: bytes, at: int) -> int:
    """Return two octets as a number; raises IndexError behind the end."""
    return data[at] << 8 | data[at + 1]
