"""What tests have shown."""

import pytest

from tunproxy.upstream.base import DialUpstream
from tunproxy.upstream.history import DEAD, KEPT, LONGEST_WAIT, RETRY_AFTER, SUSPECT, WELL, Delay, Record


def record() -> Record:
    return Record(DialUpstream("x"), "http://h/")


def test_record_keeps_the_last_results() -> None:
    seen = record()
    assert (seen.state, seen.delay, seen.history) == (WELL, None, [])
    for number in range(KEPT + 2):
        seen.succeeded(number, float(number))
    assert len(seen.history) == KEPT
    assert seen.history[-1] == Delay(KEPT + 1.0, KEPT + 1)
    seen.failed("no answer", 99.0)
    assert (seen.state, seen.delay, seen.problem) == (DEAD, None, "no answer")
    assert seen.history[-1] == Delay(99.0, 0)
    seen.succeeded(0, 100.0)
    assert (seen.state, seen.delay, seen.problem) == (WELL, 1, "")  # 0 would say that it failed


def test_suspect_is_not_worse_than_dead() -> None:
    seen = record()
    seen.suspect()
    assert seen.state == SUSPECT
    seen.failed("x", 0.0)
    seen.suspect()
    assert seen.state == DEAD


@pytest.mark.parametrize(
    ("failures", "interval", "wait"),
    [
        (0, 300.0, 300.0),
        (1, 300.0, RETRY_AFTER),
        (2, 300.0, 2 * RETRY_AFTER),
        (4, 300.0, 8 * RETRY_AFTER),
        (30, 300.0, LONGEST_WAIT),
        (30, 3600.0, 3600.0),
        (10_000, 300.0, LONGEST_WAIT),
    ],
)
def test_wait_is_longer_and_longer_for_the_dead(failures: int, interval: float, wait: float) -> None:
    seen = record()
    for _ in range(failures):
        seen.failed("x", 0.0)
    assert seen.wait(interval) == wait
