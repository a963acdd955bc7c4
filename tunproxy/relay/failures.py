"""Why a request is not fulfilled, and how HTTP and SOCKS say so."""

import errno
from typing import Final

BAD: Final = "bad"  # it is no request
LOGIN: Final = "login"
DENIED: Final = "denied"
REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
TIMED_OUT: Final = "timed-out"
NO_NAME: Final = "no-name"
LIMIT: Final = "limit"
BUSY: Final = "busy"
UNSUPPORTED: Final = "unsupported"
KINDS: Final = (BAD, LOGIN, DENIED, REFUSED, UNREACHABLE, TIMED_OUT, NO_NAME, LIMIT, BUSY, UNSUPPORTED)

HTTP_STATUS: Final = {
    BAD: "400 Bad Request",
    LOGIN: "407 Proxy Authentication Required",
    DENIED: "403 Forbidden",
    REFUSED: "502 Bad Gateway",
    UNREACHABLE: "502 Bad Gateway",
    TIMED_OUT: "504 Gateway Timeout",
    NO_NAME: "502 Bad Gateway",
    LIMIT: "429 Too Many Requests",
    BUSY: "503 Service Unavailable",
    UNSUPPORTED: "501 Not Implemented",
}
SOCKS_CODE: Final = {  # RFC 1928 §6
    BAD: 1,
    LOGIN: 2,
    DENIED: 2,
    REFUSED: 5,
    UNREACHABLE: 4,
    TIMED_OUT: 6,
    NO_NAME: 4,
    LIMIT: 2,
    BUSY: 1,
    UNSUPPORTED: 7,
}
NETWORK_UNREACHABLE: Final = 3
WRONG_ADDRESS_KIND: Final = 8

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: REFUSED,
    errno.ETIMEDOUT: TIMED_OUT,
    errno.EMFILE: BUSY,
    errno.ENFILE: BUSY,
    errno.ENOBUFS: BUSY,
    errno.ENOMEM: BUSY,
    errno.EADDRNOTAVAIL: BUSY,
}


class RequestFailed(Exception):
    """A request is not fulfilled; kind is one of KINDS, and the words are for whoever asked."""

    def __init__(self, kind: str, words: str, *, socks_code: int = 0, http_status: str = "") -> None:
        super().__init__(words)
        self.kind: Final = kind
        self.socks_code: Final = socks_code or SOCKS_CODE[kind]
        self.http_status: Final = http_status or HTTP_STATUS[kind]


class HungUp(Exception):
    """The client has gone in the middle of its request."""


def failure_of(error: OSError) -> RequestFailed:
    """Return what an error of the kernel about a target means for whoever asked for it."""
    number = error.errno or 0
    kind = _BY_ERRNO.get(number, UNREACHABLE)
    words = {
        REFUSED: "connection refused",
        TIMED_OUT: "no answer from the target",
        BUSY: "the relay has no room for another connection",
        UNREACHABLE: "network unreachable" if number == errno.ENETUNREACH else "host unreachable",
    }[kind]
    code = NETWORK_UNREACHABLE if number == errno.ENETUNREACH else 0
    return RequestFailed(kind, words, socks_code=code)
