"""The one clock of the packet path.

Time is a number of microseconds on a clock that never goes back. Engines do not read it: the loop
reads it once per wake-up and hands it down as an argument, and the simulator hands down its own.
"""

import time
from typing import Final, TypeAlias

from mypy_extensions import i64

Micros: TypeAlias = i64

_monotonic_ns: Final = time.monotonic_ns


def now() -> Micros:
    """Return the microseconds since some fixed moment in the past."""
    return i64(_monotonic_ns() // 1000)
