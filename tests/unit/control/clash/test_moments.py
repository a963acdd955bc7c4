"""Times as Clash writes them."""

import pytest

from tunproxy.control.clash.moments import NEVER, UNKNOWN, written


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, NEVER),
        (1_795_227_411.627139, "2026-11-21T02:16:51.627139Z"),
        (1_795_227_411.5, "2026-11-21T02:16:51.5Z"),
        (1_795_227_411, "2026-11-21T02:16:51Z"),
        (-1, UNKNOWN),
        (float("inf"), UNKNOWN),
        (float("nan"), UNKNOWN),
    ],
)
def test_moment_is_written(seconds: float, text: str) -> None:
    assert written(seconds) == text
