"""Times as Clash writes them (RFC 3339, with nanoseconds, in UTC)."""

from datetime import UTC, datetime
from typing import Final

NEVER: Final = "1970-01-01T00:00:00Z"
UNKNOWN: Final = "0001-01-01T00:00:00Z"
_LATEST: Final = 253_402_300_799.0  # the last second that has four digits for its year


def written(seconds: float) -> str:
    """Return a moment in seconds since 1970."""
    if not 0 <= seconds <= _LATEST:
        return UNKNOWN
    at = datetime.fromtimestamp(int(seconds), UTC)
    fraction = f"{round((seconds % 1) * 1e6) % 1_000_000:06d}".rstrip("0")
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"
