"""The life of one flow, for those who ask about it: where it goes, what it has carried, how it ended.

It is made where somebody watches flows (``FlowWatcher``), one object a flow; nothing in it is put into words
before somebody asks.
"""

import errno
import os
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.tap import Tap
from tunproxy.flow.verdict import FlowInfo, Verdict

# why a flow is over, for people
CLOSED: Final = "closed"
IDLE: Final = "closed: idle"
REFUSED: Final = "refused"
DROPPED: Final = "dropped"
FORBIDDEN: Final = "refused: nobody may be dialled there"
NO_DESCRIPTOR: Final = "refused: no descriptor left"
EVICTED: Final = "evicted, to make room"
GIVEN_UP: Final = "given up by client"
CLIENT_RESET: Final = "reset by client"
CLIENT_GONE: Final = "client gone"
TARGET_RESET: Final = "reset by target"
SPOILED: Final = "cut: its stream was spoiled"
ENDED: Final = "cut: tunproxy has ended"
WAY_GONE: Final = "cut: the address it left from is gone"
LOOPING: Final = "cut: it came back to us"
CLOSED_BY_HAND: Final = "cut: closed by hand"
RESET: Final = "cut"

_ECONNRESET: Final = errno.ECONNRESET
_EPIPE: Final = errno.EPIPE
_strerror: Final = os.strerror


@final
@mypyc_attr(native_class=True, acyclic=True)
class FlowLife:
    """One flow. up and down are octets of payload; what is -1 has not happened.

    dialled is what the packet path itself connected to. number is the flow's own in this run. What was
    tried besides is in tried, as (where or who, microseconds, what went wrong or "").
    """

    def __init__(self, number: i64, info: FlowInfo, verdict: Verdict, now: Micros) -> None:
        self.number: Final = number
        self.info: Final = info
        self.verdict: Verdict = verdict
        self.began_at: Final = now
        self.opened_at: Micros = -1  # the client has been accepted
        self.ended_at: Micros = -1
        self.up: i64 = 0  # from the client
        self.down: i64 = 0
        self.reason: str = ""
        self.dialled: tuple[str, int] | None = None
        self.dialled_at: Micros = -1
        self.reached_at: Micros = -1  # or not: then there is an error
        self.dial_error: int = 0
        self.tried: list[tuple[str, int, str]] | None = None
        self.tap: Tap | None = None

    def attempts(self) -> list[tuple[str, int, str]]:
        """Return every attempt to get there that is over, the first one first, as in tried."""
        found: list[tuple[str, int, str]] = []
        dialled = self.dialled
        if dialled is not None:
            host = f"[{dialled[0]}]" if ":" in dialled[0] else dialled[0]
            if self.reached_at >= 0:
                why = error_text(self.dial_error) if self.dial_error != 0 else ""
                found.append((f"{host}:{dialled[1]}", int(self.reached_at - self.dialled_at), why))
            elif self.ended_at >= 0:
                found.append((f"{host}:{dialled[1]}", int(self.ended_at - self.dialled_at), "no answer"))
        if self.tried is not None:
            found.extend(self.tried)
        return found

    def note_tried(self, where: str, took: i64, failure: str) -> None:
        """Note an attempt that somebody else has made."""
        if self.tried is None:
            self.tried = []
        self.tried.append((where, int(took), failure))

    def note_failed(self, where: str, took: i64, error: BaseException) -> None:
        """Note such an attempt that an exception has ended."""
        self.note_tried(where, took, failure_text(error))

    def note_dialled(self, error: int, now: Micros) -> None:
        """Note how our own attempt went; error is an errno, 0 for well."""
        if self.reached_at < 0:
            self.reached_at = now
            self.dial_error = error


def not_reached(error: int) -> str:
    """Return why a flow is over whose target cannot be reached."""
    return f"not reached: {error_text(error)}"


def lost(error: int) -> str:
    """Return why a flow is over whose upstream has broken off."""
    if error == _ECONNRESET or error == _EPIPE:
        return TARGET_RESET
    return f"lost its target: {error_text(error)}"


def error_text(error: int) -> str:
    """Return an errno in words."""
    return _strerror(error).lower()


def failure_text(error: BaseException) -> str:
    """Return an exception in words, without the number that Python puts before those of an errno."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def begun_since(lives: list[FlowLife], since: Micros, after: i64) -> list[FlowLife]:
    """Return those that have begun or opened since, or have a number beyond after, which -1 says none has."""
    found: list[FlowLife] = []
    for life in lives:
        if life.began_at > since or life.opened_at > since or (after >= 0 and life.number > after):
            found.append(life)
    return found


def tallies(lives: list[FlowLife]) -> list[int]:
    """Return number, octets up and octets down of each, all in a row."""
    found: list[int] = []
    for life in lives:
        found.append(int(life.number))
        found.append(int(life.up))
        found.append(int(life.down))
    return found
