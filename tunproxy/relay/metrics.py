"""Counts, in memory that all workers share and each writes its own part of, so that nobody waits for anybody.

A worker's part stays when it dies, as counts never go back; only what was open in it is forgotten.
"""

import mmap
import os
from collections.abc import Sequence
from typing import Final, final

from tunproxy.relay.failures import KINDS

_WORD: Final = 8

# What is counted once for a worker. "open" and the PID are no counts.
ACCEPTED: Final = 0
OPEN: Final = 1
TURNED_AWAY: Final = 2  # connections beyond the limit
DATAGRAMS_UP: Final = 3
DATAGRAMS_DOWN: Final = 4
DATAGRAMS_DROPPED: Final = 5
STARTS: Final = 6
PID: Final = 7  # of the worker
_FIXED: Final = 8

PROTOCOLS: Final = ("http", "connect-udp", "socks5", "socks5-udp", "shadowsocks", "shadowsocks-udp")
OUTCOMES: Final = ("opened", *KINDS, "hung-up", "too-slow", "tls", "garbage")
_PROTOCOLS_AT: Final = _FIXED
_OUTCOMES_AT: Final = _PROTOCOLS_AT + len(PROTOCOLS)
_USERS_AT: Final = _OUTCOMES_AT + len(OUTCOMES)

# What is counted for each user.
FLOWS_OPEN: Final = 0
FLOWS: Final = 1
UP: Final = 2
DOWN: Final = 3
_PER_USER: Final = 4


class Board:
    """The counts of all workers. users are names; made before the workers are."""

    def __init__(self, workers: int, users: Sequence[str]) -> None:
        self.users: Final = tuple(users)
        self.workers: Final = workers
        self.width: Final = _USERS_AT + _PER_USER * len(users)
        self._memory: Final = mmap.mmap(-1, max(workers * self.width * _WORD, mmap.PAGESIZE))
        self.cells: Final = memoryview(self._memory).cast("q")
        for worker in range(workers):  # who asks before they have begun must not see that some began later
            self.cells[worker * self.width + STARTS] = 1

    def total(self, at: int) -> int:
        """Return the sum over the workers of one count."""
        return sum(self.cells[worker * self.width + at] for worker in range(self.workers))

    def pids(self) -> list[int]:
        """Return the processes of the workers; 0 for one that has not begun."""
        return [self.cells[worker * self.width + PID] for worker in range(self.workers)]

    def protocol(self, number: int) -> int:
        """Return how many requests came by PROTOCOLS[number]."""
        return self.total(_PROTOCOLS_AT + number)

    def outcome(self, number: int) -> int:
        """Return how many connections ended their request with OUTCOMES[number]."""
        return self.total(_OUTCOMES_AT + number)

    def of_user(self, user: int, what: int) -> int:
        """Return a user's FLOWS_OPEN, FLOWS, UP or DOWN."""
        return self.total(_USERS_AT + user * _PER_USER + what)


@final
class Tally:
    """One worker's part of a board."""

    def __init__(self, board: Board, worker: int) -> None:
        self._board: Final = board
        self._cells: Final = board.cells[worker * board.width : (worker + 1) * board.width]
        self._cells[OPEN] = 0  # those of its predecessor in this place have died with it
        for user in range(len(board.users)):
            self._cells[_USERS_AT + user * _PER_USER + FLOWS_OPEN] = 0
        self._cells[STARTS] += self._cells[PID] != 0  # the first in this place was counted beforehand
        self._cells[PID] = os.getpid()

    def add(self, what: int, count: int = 1) -> None:
        """Count one of the fixed things, such as ACCEPTED."""
        self._cells[what] += count

    def on_request(self, protocol: str) -> None:
        self._cells[_PROTOCOLS_AT + PROTOCOLS.index(protocol)] += 1

    def on_outcome(self, outcome: str) -> None:
        self._cells[_OUTCOMES_AT + OUTCOMES.index(outcome)] += 1

    def flows_of(self, user: int) -> int:
        """Return how many flows a user has open, in all workers."""
        return self._board.of_user(user, FLOWS_OPEN)

    def on_begin(self, user: int) -> None:
        at = _USERS_AT + user * _PER_USER
        self._cells[at + FLOWS_OPEN] += 1
        self._cells[at + FLOWS] += 1

    def on_end(self, user: int) -> None:
        self._cells[_USERS_AT + user * _PER_USER + FLOWS_OPEN] -= 1

    def on_up(self, user: int, count: int) -> None:
        self._cells[_USERS_AT + user * _PER_USER + UP] += count

    def on_down(self, user: int, count: int) -> None:
        self._cells[_USERS_AT + user * _PER_USER + DOWN] += count
