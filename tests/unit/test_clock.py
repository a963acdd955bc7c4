"""The packet path's clock."""

import time

from tunproxy import clock


def test_now_counts_microseconds() -> None:
    before = time.monotonic_ns() // 1000
    reading = clock.now()
    after = time.monotonic_ns() // 1000
    assert before <= reading <= after


def test_now_never_goes_back() -> None:
    readings = [clock.now() for _ in range(1000)]
    assert readings == sorted(readings)
