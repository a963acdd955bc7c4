"""Time as the machine had it: a virtual one's processors are taken away, for up to two seconds at a time.

What is promised within a second cannot be kept by a machine that does not run meanwhile. So what the
hypervisor has taken does not count, nor what this very process was kept waiting for a processor.
"""

import os
import re
import threading
import time
from collections.abc import Callable

TICK = 0.01  # seconds between two looks at the clock
LATE = 0.05  # seconds between two looks that are still usual where others use the processors, too
STEAL = 8  # which word of a line of /proc/stat it is (man 5 proc)


class Stopwatch:
    """Runs within its context, and may be read there and afterwards."""

    def __enter__(self) -> "Stopwatch":
        self._ended = threading.Event()
        self._lost = 0.0
        self._stolen = stolen()
        self._seconds = -1.0
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = self.seconds()
        self._ended.set()
        self._thread.join(10)

    def seconds(self) -> float:
        """Return how long the machine has run since the beginning, to the end at most; never less than 0."""
        if self._seconds >= 0:
            return self._seconds
        taken = max(now - then for now, then in zip(stolen(), self._stolen, strict=False))
        return max(0.0, time.monotonic() - self._began - self._lost - taken)

    def _tick(self) -> None:
        last = self._began
        while not self._ended.wait(TICK):
            now = time.monotonic()
            if now - last > LATE:
                self._lost += now - last - LATE
            last = now


def within(condition: Callable[[], object], seconds: float) -> bool:
    """Return whether a call returns true before the machine has run so long; it is asked once more then."""
    with Stopwatch() as watch:
        while True:
            is_over = watch.seconds() > seconds
            if condition():
                return True
            if is_over:
                return False
            time.sleep(0.02)


def stolen() -> list[float]:
    """Return the seconds that the hypervisor has taken of each processor so far."""
    with open("/proc/stat", encoding="ascii") as file:
        lines = [line.split() for line in file if re.match(r"cpu\d", line)]
    return [int(line[STEAL]) / os.sysconf("SC_CLK_TCK") for line in lines]
