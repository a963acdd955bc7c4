"""What the stream tells, for tests: rows of flows, and looks."""

from typing import Any

WALL = 1_800_000_000.0


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Return what is told of a flow that has just opened."""
    return {
        "number": number,
        "id": f"id-{number}",
        "state": "open",
        "protocol": "tcp",
        "client": "10.0.0.2",
        "client_port": 40_000 + number,
        "target": "192.0.2.1",
        "target_port": 443,
        "name": None,
        "chain": "direct",
        "rule": None,
        "why": "default",
        "octets_up": 0,
        "octets_down": 0,
        "seconds": 0.0,
        "reason": None,
        "began": WALL - number,
        "process": "",
        "process_path": "",
        "upstream": "direct",
        "verdict": "dial",
        "uid": -1,
    } | changes


def look(
    seconds: float,
    *rows: dict[str, Any],
    octets: tuple[tuple[int, int, int], ...] = (),
    gone: tuple[int, ...] = (),
    has_more: bool = False,
) -> dict[str, Any]:
    """Return an object of the stream."""
    return {
        "seconds": seconds,
        "has_more": has_more,
        "rows": list(rows),
        "octets": [list(each) for each in octets],
        "gone": list(gone),
    }
