"""Levels by name, and syslog's numbers for them."""

import logging

import pytest

from tunproxy.logs.levels import LEVELS, NOTICE, USUAL, name_of, priority


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (NOTICE, 5), (logging.INFO, 6),
        (logging.DEBUG, 7), (logging.NOTSET, 7), (logging.ERROR + 3, 3),
    ],
)  # fmt: skip
def test_priority_is_syslogs(level: int, number: int) -> None:
    assert priority(level) == number


def test_names_are_those_of_their_levels() -> None:
    assert {name_of(level): level for level in LEVELS.values()} == LEVELS
    assert name_of(logging.CRITICAL) == "error"
    assert name_of(1) == "debug"
    assert USUAL in LEVELS
