"""Statuses that the answer to a test may have, as Clash writes them: 200/204, 200-299, * for any."""

from typing import Final

from tunproxy.control.clash.refusals import body_invalid

LEAST: Final = 100
MOST: Final = 599
MOST_RANGES: Final = 28  # as in mihomo


def statuses_of(text: str) -> list[int] | None:
    """Return all statuses that text allows, None where it allows any; raises Refusal for what is none."""
    if text.strip() in ("", "*"):
        return None
    parts = text.replace("/", ",").split(",")
    if len(parts) > MOST_RANGES:
        raise body_invalid()
    found: set[int] = set()
    for part in parts:
        first, dash, last = part.strip().partition("-")
        low, high = _status(first), _status(last if dash else first)
        if low > high:
            raise body_invalid()
        found.update(range(low, high + 1))
    return sorted(found)


def _status(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) == 3 and LEAST <= int(text) <= MOST):
        raise body_invalid()
    return int(text)
