"""The log, while somebody looks."""

import logging
from collections.abc import Callable

import pytest

from tunproxy.control.helm.log_ring import KEPT, LONGEST, PATIENCE, LogRing
from tunproxy.errors import ConfigError
from tunproxy.logs.levels import NOTICE


class Time:
    """A clock, and what is to happen later."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, function))

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due, self.due = self.due, []
        for at, function in due:
            if at <= self.now:
                function()
            else:
                self.due.append((at, function))


@pytest.fixture
def logger() -> logging.Logger:
    made = logging.Logger("apart", logging.WARNING)
    made.propagate = False
    return made


def ring_of(logger: logging.Logger) -> tuple[LogRing, Time]:
    time = Time()
    return LogRing(time.later, logger, lambda: time.now), time


def test_nobody_pays_before_somebody_asks(logger: logging.Logger) -> None:
    ring, time = ring_of(logger)
    logger.warning("before")
    assert (logger.handlers, time.due) == ([], [])
    assert ring.lines({"level": "info", "since": None}) == {"number": 0, "lines": []}
    logger.info("%d lines", 2)
    logger.debug("unheard")
    logger.error("bad")
    found = ring.lines({"level": "info", "since": 0})
    assert [line[1:] for line in found["lines"]] == [["info", "2 lines"], ["error", "bad"]]
    assert ring.lines({"level": "error", "since": 1})["lines"][0][2] == "bad"
    assert ring.lines({"level": "info", "since": found["number"]})["lines"] == []
    assert len(ring.lines({"level": "info", "since": 99})["lines"]) == 2  # somebody had our place before


def test_all_is_as_before_when_nobody_asks_any_more(logger: logging.Logger) -> None:
    ring, time = ring_of(logger)
    ring.lines({"level": "debug", "since": None})
    assert logger.level == logging.DEBUG
    time.pass_by(PATIENCE - 1)
    ring.lines({"level": "debug", "since": 0})
    time.pass_by(2)
    assert logger.handlers == [ring]
    time.pass_by(PATIENCE)
    assert (logger.handlers, logger.level) == ([], logging.WARNING)
    ring.stop()
    ring.lines({})
    assert logger.handlers == [ring]
    ring.stop()
    assert logger.handlers == []


def test_it_is_bounded_and_takes_whatever_is_logged(logger: logging.Logger) -> None:
    ring, _ = ring_of(logger)
    ring.lines({})
    logger.warning("x" * 10_000)
    logger.warning("%d", "no number")
    lines = ring.lines({"since": 0})["lines"]
    assert len(lines[0][2]) == LONGEST
    assert lines[1][2] == "%d"
    for number in range(2 * KEPT):
        logger.warning("%d", number)
    assert len(ring.lines({"since": 0})["lines"]) == KEPT


def test_level_that_is_none(logger: logging.Logger) -> None:
    with pytest.raises(ConfigError, match="there is no level 'loud'"):
        ring_of(logger)[0].lines({"level": "loud"})


def test_notice_is_information(logger: logging.Logger) -> None:
    ring, _ = ring_of(logger)
    ring.lines({"level": "info", "since": None})
    logger.log(NOTICE, "it serves")
    logger.critical("it is over")
    found = ring.lines({"level": "info", "since": 0})["lines"]
    assert [line[1:] for line in found] == [["info", "it serves"], ["error", "it is over"]]
    assert len(ring.lines({"level": "warning", "since": 0})["lines"]) == 1
