"""Times and sizes as people write them in ``[history]``, and after ``--since``."""

import re
import time
from datetime import datetime
from typing import Final

from tunproxy.control.config.schema import HistoryConfig
from tunproxy.control.settings import octets
from tunproxy.errors import ConfigError

LEAST_SIZE: Final = 1 << 20  # our choice: below that there is little to look back on

_SPAN: Final = re.compile(r"(\d{1,9})\s*([smhdw]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds_of(written: str | int) -> int:
    """Return the seconds that a span has: "90", "15m", "24h", "7d", "2w". Raises ConfigError."""
    found = _SPAN.fullmatch(str(written).strip().lower())
    if found is None:
        raise ConfigError(f"{written!r} is no span of time (such as 90s, 15m, 24h, 7d)")
    return int(found[1]) * _SECONDS[found[2]]


def moment_of(written: str, now: float | None = None) -> float:
    """Return the moment, in seconds since 1970, that a span ago or a date and time stand for.

    A date is as in ISO 8601, by local time where it names no other. Raises ConfigError.
    """
    now = time.time() if now is None else now
    try:
        return now - seconds_of(written)
    except ConfigError:
        pass
    try:
        return datetime.fromisoformat(written.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f"{written!r} is no time (write how long ago: 15m, 24h, 7d; or 2026-11-22T08:00)"
        ) from None


def problems_of(config: HistoryConfig) -> list[tuple[str, str]]:
    """Return what is wrong with a table [history]: the key, and why."""
    found = []
    try:
        if octets(config.size) < LEAST_SIZE:
            found.append(("size", f"{config.size!r} is too little (at least 1M)"))
    except ConfigError as error:
        found.append(("size", str(error)))
    try:
        if seconds_of(config.age) == 0:
            found.append(("age", "nothing would be kept (enabled = false records nothing)"))
    except ConfigError as error:
        found.append(("age", str(error)))
    return found
