"""The states of a connection and the moves between them (RFC 9293 §3.3.2, figure 5).

LISTEN has no connection object here: a listener is whoever owns the table of flows. TRANSITIONS is the
only list of moves; ``enter`` holds the code to it, the diagram in the docs and a test are made from it.
"""

from typing import Final

from mypy_extensions import i64

CLOSED: Final[i64] = 0
SYN_SENT: Final[i64] = 1
SYN_RECEIVED: Final[i64] = 2
ESTABLISHED: Final[i64] = 3
FIN_WAIT_1: Final[i64] = 4
FIN_WAIT_2: Final[i64] = 5
CLOSE_WAIT: Final[i64] = 6
CLOSING: Final[i64] = 7
LAST_ACK: Final[i64] = 8
TIME_WAIT: Final[i64] = 9

NAMES: Final = (
    "CLOSED",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
)

# What moves, by what. Every state may also go to CLOSED by a reset or a time-out.
TRANSITIONS: Final = (
    (SYN_SENT, ESTABLISHED, "SYN and ACK of our SYN arrive"),
    (SYN_RECEIVED, ESTABLISHED, "ACK of our SYN arrives"),
    (ESTABLISHED, FIN_WAIT_1, "we close"),
    (ESTABLISHED, CLOSE_WAIT, "FIN arrives"),
    (CLOSE_WAIT, LAST_ACK, "we close"),
    (FIN_WAIT_1, FIN_WAIT_2, "ACK of our FIN arrives"),
    (FIN_WAIT_1, CLOSING, "FIN arrives"),
    (FIN_WAIT_1, TIME_WAIT, "FIN and ACK of our FIN arrive"),
    (FIN_WAIT_2, TIME_WAIT, "FIN arrives"),
    (CLOSING, TIME_WAIT, "ACK of our FIN arrives"),
    (LAST_ACK, CLOSED, "ACK of our FIN arrives"),
    (TIME_WAIT, CLOSED, "2 MSL have passed"),
)

_ALLOWED: Final = frozenset((int(before), int(after)) for before, after, _ in TRANSITIONS)


def is_allowed(before: i64, after: i64) -> bool:
    """Tell whether the move is in the table; every state may go to CLOSED."""
    return after == CLOSED or (int(before), int(after)) in _ALLOWED


def sends_data(state: i64) -> bool:
    """Tell whether data or a FIN of ours may be under way or still to be sent."""
    return (
        state == ESTABLISHED
        or state == CLOSE_WAIT
        or state == FIN_WAIT_1
        or state == CLOSING
        or state == LAST_ACK
    )


def has_all_data(state: i64) -> bool:
    """Tell whether the peer's FIN has arrived, so that nothing more comes from it."""
    return state == CLOSE_WAIT or state == CLOSING or state == LAST_ACK or state == TIME_WAIT
