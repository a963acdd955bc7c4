"""A timer wheel: cheap to move deadlines forward, free to move them back.

Two rings of slots: 1 ms wide for the next half second, 512 ms wide for four minutes; what lies further is
looked at again then. A deadline that moves back (a retransmission timer does with every acknowledgment) costs
nothing: the old entry fires, its owner looks at the clock and schedules again.

An entry is the Timed itself, filed under a tick. entry_at is the tick of the one that serves scheduled_at.
When a nearer deadline needs another, the old one is left behind and remembered, to serve again: a busy flow
goes to and fro between an acknowledgment in 5 ms, a retransmission in 200 ms and a keepalive in two minutes.
Two are remembered, the latest of all and the last one (``far_at``, ``parked_at``). One that is not remembered
any more is dropped when its tick comes, and lies between the two: so each Timed has one far entry, and near
ones for as long as a near ring lasts.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.ports import Timed

# our choices
TICK: Final[i64] = 1_000  # what epoll can wait for
SLOTS: Final[i64] = 512  # per ring, a power of two
_MASK: Final[i64] = SLOTS - 1


@final
@mypyc_attr(native_class=True)
class TimerWheel:
    """Deadlines of many Timed, in microseconds of the clock that is handed in."""

    def __init__(self, now: Micros) -> None:
        self._tick: i64 = now // TICK  # everything up to this tick has fired
        self._near: list[list[Timed]] = [[] for _ in range(SLOTS)]
        self._far: list[list[Timed]] = [[] for _ in range(SLOTS)]
        self._count: i64 = 0
        self._earliest: i64 = -1  # tick before which nothing fires; -1: not known

    def schedule(self, timed: Timed, at: Micros) -> None:
        """Have timed.on_deadline called at `at` or up to a tick later; an earlier schedule stands."""
        if 0 <= timed.scheduled_at <= at:
            return
        tick = _tick_of(at)
        if timed.scheduled_at >= 0:
            timed.scheduled_at = at
            if timed.entry_at <= tick:
                return
            if timed.far_at < timed.parked_at:
                timed.far_at = timed.parked_at
            timed.parked_at = timed.entry_at
        else:
            timed.scheduled_at = at
            if 0 <= timed.far_at <= tick:
                timed.entry_at = timed.far_at
                timed.far_at = -1
                return
            if 0 <= timed.parked_at <= tick:
                timed.entry_at = timed.parked_at
                timed.parked_at = -1
                return
        self._insert(at, timed)

    def _insert(self, at: Micros, timed: Timed) -> None:
        """File an entry that serves `at`, or that is looked at again as far ahead as there are slots."""
        tick = max(_tick_of(at), self._tick + 1)
        if tick - self._tick <= SLOTS:
            self._near[tick & _MASK].append(timed)
        else:
            tick = min(tick // SLOTS, self._tick // SLOTS + _MASK) * SLOTS
            self._far[(tick // SLOTS) & _MASK].append(timed)
        timed.entry_at = tick
        self._count += 1
        if self._earliest >= 0:
            self._earliest = min(self._earliest, tick)

    def next_at(self) -> Micros:
        """Return when advance should be called next, -1 when nothing is scheduled."""
        if self._count == 0:
            return -1
        if self._earliest < 0:
            self._earliest = self._find_earliest()
        return self._earliest * TICK

    def _find_earliest(self) -> i64:
        tick = self._tick + 1
        end = self._tick + SLOTS + 1
        while tick < end:
            if len(self._near[tick & _MASK]) > 0 or (tick & _MASK == 0 and self._has_far(tick)):
                return tick
            tick += 1
        tick = end - end % SLOTS
        while not self._has_far(tick):
            tick += SLOTS
        return tick

    def _has_far(self, tick: i64) -> bool:
        return len(self._far[(tick // SLOTS) & _MASK]) > 0

    def advance(self, now: Micros) -> None:
        """Fire what is due. A Timed may schedule itself or others while it fires."""
        target = now // TICK
        if self._count == 0:
            self._tick = max(self._tick, target)
            return
        while self._tick < target:
            if self._earliest > self._tick + 1:
                self._tick = min(self._earliest, target + 1) - 1  # nothing in between
                if self._tick >= target:
                    return
            self._earliest = -1
            if (self._tick + 1) & _MASK == 0:
                self._bring_near(self._tick + 1)
            self._tick += 1
            slot = self._near[self._tick & _MASK]
            if len(slot) > 0:
                self._near[self._tick & _MASK] = []
                self._count -= len(slot)
                for timed in slot:
                    self._fire(timed, now)
            if self._count == 0:
                self._tick = target
                return
            self._earliest = self._find_earliest()

    def _bring_near(self, tick: i64) -> None:
        """Spread the far slot that begins with the next tick over the near ring; what is later goes back."""
        slot = self._far[(tick // SLOTS) & _MASK]
        if len(slot) == 0:
            return
        self._far[(tick // SLOTS) & _MASK] = []
        self._count -= len(slot)
        for timed in slot:
            if timed.entry_at == tick:
                self._insert(timed.scheduled_at, timed)
            else:
                _forget(timed, tick)

    def _fire(self, timed: Timed, now: Micros) -> None:
        if timed.entry_at != self._tick:
            _forget(timed, self._tick)
        elif _tick_of(timed.scheduled_at) <= self._tick:
            timed.scheduled_at = -1
            timed.entry_at = -1
            timed.on_deadline(now)
        else:  # it served an earlier deadline once
            self._insert(timed.scheduled_at, timed)


def _forget(timed: Timed, tick: i64) -> None:
    """Take note that an entry of this tick, which serves no deadline, is gone."""
    if timed.parked_at == tick:
        timed.parked_at = -1
    elif timed.far_at == tick:
        timed.far_at = -1


def _tick_of(at: Micros) -> i64:
    """Return the first tick that is not before `at`."""
    return (at + TICK - 1) // TICK
