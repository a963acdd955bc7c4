"""Faults of upstreams in the log."""

import logging

import pytest

from tunproxy import clock
from tunproxy.logs import faults as module
from tunproxy.logs.about import fields_of
from tunproxy.logs.faults import MAX_KEPT, QUIET, Faults


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time; whoever writes to it passes it."""
    time = [clock.now()]
    monkeypatch.setattr(module.clock, "now", lambda: time[0])
    return time


def missing() -> BaseException:
    try:
        {}["key"]
    except KeyError as error:
        return error


def zero() -> BaseException:
    try:
        1 // 0  # noqa: B018  # for its exception
    except ZeroDivisionError as error:
        return error


def test_fault_is_told_with_its_traceback_once_and_then_how_often(
    now: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    faults = Faults()
    for number in range(40):
        faults.take(f"flow {number}", "odd", missing(), rule="MATCH,odd")
    (line,) = caplog.records
    assert line.getMessage() == "flow 0: upstream odd is faulty"
    assert line.exc_info is not None
    assert line.levelno == logging.ERROR
    assert fields_of(line) == {"flow": "flow 0", "upstream": "odd", "rule": "MATCH,odd"}
    now[0] += QUIET
    faults.take("flow 40", "odd", missing())
    faults.take("flow 41", "odd", missing())
    assert caplog.records[-1].getMessage() == (
        "flow 40: upstream odd is faulty, and was so 39 times since the last line"
    )
    assert len(caplog.records) == 2
    assert faults.counts == {"odd": 42}


def test_what_differs_in_upstream_kind_or_place_is_told_by_itself(
    now: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    faults = Faults()
    for upstream in ("odd", "even"):
        for error in (missing(), zero(), KeyError("raised nowhere")):
            faults.take("flow", upstream, error)
    assert len(caplog.records) == 6
    assert faults.counts == {"odd": 3, "even": 3}


def test_what_is_kept_is_bounded(now: list[int], caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    for number in range(MAX_KEPT + 1):
        faults.take("flow", f"upstream {number}", missing())
    faults.take("flow", f"upstream {MAX_KEPT}", missing())
    assert len(caplog.records) == MAX_KEPT + 1
    faults.take("flow", "upstream 0", missing())
    assert len(caplog.records) == MAX_KEPT + 2
