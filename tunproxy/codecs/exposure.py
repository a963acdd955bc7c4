"""Flows in which a secret stands beside what others may choose, as the length of packed octets would tell.

Who can have a browser send requests of his choosing, and sees how long they are on the wire, learns the
browser's cookie octet by octet: what he guesses right is packed into less (CRIME; VORACLE, through a tunnel).
HTTP says in the clear where there is a secret; this looks for it in each request, and each answer.
"""

import re
from typing import Final, final

from mypy_extensions import mypyc_attr

# what a request of HTTP/1 may begin with (RFC 9112 §3: a method, and a space), and an answer (§4)
_METHOD: Final = re.compile(rb"[A-Za-z][A-Za-z-]{0,31} ")
_PART_OF_METHOD: Final = re.compile(rb"[A-Za-z][A-Za-z-]{0,31}")
_ANSWER: Final = b"HTTP/1."
_PREFACE: Final = b"PRI * HTTP/2"  # RFC 9113 §3.4: fields that we cannot read follow
_TUNNEL: Final = b"CONNECT "  # what follows its head is another stream (RFC 9110 §9.3.6)
_VERSION: Final = b" HTTP/"  # a request's first line ends with it; one without has no fields (RFC 1945 §5)
_SECRET: Final = re.compile(
    rb"(?:(?:proxy-)?authorization|(?:set-)?cookie2?|x-api-key|x-auth-token|x-csrf-token)[ \t]*:",
    re.IGNORECASE,
)
_INITIALS: Final = b"AaCcPpSsXx"  # of these fields
# the same for octets of which many are ends of lines, where one after the other would take long
_NAMES: Final = (b"cookie", b"authorization", b"\nx-api-key", b"\nx-auth-token", b"\nx-csrf-token")
_MANY: Final = 40  # one octet in so many
_FEW: Final = 25  # and never fewer than these
_HEAD_END: Final = re.compile(rb"\n\r?\n")

_LONGEST: Final = 32  # octets: no name of a field that we look for is longer
_LONGEST_LINE: Final = 8192  # our choice: octets of a request's first line that are waited for
_ANSWER_LOOKED_AT: Final = (
    1 << 16
)  # our choice: octets of an answer. Its head is in them, and the rest is long

# states
_BEGINNING: Final = 0
_HTTP: Final = 1
_IN_TUNNEL_HEAD: Final = 2
_OTHER: Final = 3  # not HTTP: never looked at again


@final
@mypyc_attr(native_class=True)
class Exposure:
    """Looks at one direction of one flow; is_found, once it is, stays. Answers are HTTP's, to requests."""

    def __init__(self, *, reads_answers: bool) -> None:
        self.is_found: bool = False
        self._reads_answers: Final = reads_answers
        self._state: int = _BEGINNING
        self._is_answer: bool = False
        self._left: int = _ANSWER_LOOKED_AT
        self._tail: bytes = b""  # the last octets, where a name may have begun

    def look(self, data: bytes | memoryview) -> bool:
        """Take the next octets; return whether there is a secret in them, or was one before."""
        if self.is_found or self._state == _OTHER:
            return self.is_found
        if self._is_answer:
            if self._left <= 0:
                return False
            self._left -= len(data)
        seen = self._tail + data
        if self._state == _BEGINNING:
            seen = self._begin(seen)
        while self._state == _IN_TUNNEL_HEAD:
            end = _HEAD_END.search(seen)
            if end is None:
                break
            self._state = _BEGINNING
            seen = self._begin(seen[end.end() :])
        if self._state == _HTTP:
            self.is_found = self.is_found or _has_secret(seen)
        if self._state == _OTHER:
            self._tail = b""
        elif len(seen) <= _LONGEST or self._state == _BEGINNING:
            self._tail = seen
        else:
            self._tail = seen[-_LONGEST:]
        return self.is_found

    def note_question(self) -> None:
        """Take note that the other direction goes on: where this is answers, a new one may begin."""
        self._left = _ANSWER_LOOKED_AT

    def _begin(self, seen: bytes) -> bytes:
        """Tell by its first octets what this is; return what to look at."""
        if len(seen) == 0:
            return seen
        if _METHOD.match(seen) is not None or seen.startswith(_ANSWER):
            if seen.startswith(_PREFACE):
                self._state = _HTTP
                self.is_found = True
            elif seen.startswith(_TUNNEL):
                self._state = _IN_TUNNEL_HEAD
            elif seen.startswith(_ANSWER):
                self._state = _HTTP if self._reads_answers else _OTHER
                self._is_answer = True
            elif len(seen) < len(_PREFACE) and _PREFACE.startswith(seen):
                pass
            else:
                line, end, _ = seen.partition(b"\n")
                if len(end) > 0:
                    self._state = _HTTP if _VERSION in line.upper() else _OTHER
                elif len(line) > _LONGEST_LINE:
                    self._state = _HTTP
        elif not _ANSWER.startswith(seen) and _PART_OF_METHOD.fullmatch(seen) is None:
            self._state = _OTHER
        return seen


def _has_secret(seen: bytes) -> bool:
    """Tell whether one of the fields stands in seen; of text that is mostly ends of lines, whether it may."""
    last = len(seen) - 1
    left = _FEW + len(seen) // _MANY
    at = seen.find(b"\n")
    while 0 <= at < last:
        if seen[at + 1] in _INITIALS and _SECRET.match(seen, at + 1) is not None:
            return True
        left -= 1
        if left == 0:
            small = seen[at:].lower()
            return any(name in small for name in _NAMES)
        at = seen.find(b"\n", at + 1)
    return False
