"""What people read, and what systemd does."""

import logging

from tests.unit.logs.records import failure, record
from tunproxy.logs.about import about
from tunproxy.logs.console import TOLD, ConsoleFormatter, PriorityFormatter


def test_line_is_the_words_alone() -> None:
    assert ConsoleFormatter().format(record("%s is slow", "work", **about(upstream="work"))) == "work is slow"


def test_what_was_told_has_our_name() -> None:
    assert ConsoleFormatter().format(record("up", name=TOLD)) == "tunproxy: up"
    assert ConsoleFormatter(names_all=True).format(record("up")) == "tunproxy: up"


def test_exception_follows_its_line() -> None:
    lines = ConsoleFormatter().format(record("bad", exc_info=failure())).splitlines()
    assert lines[:2] == ["bad", "Traceback (most recent call last):"]
    assert lines[-2:] == ["ValueError: one", "two"]


def test_what_would_command_a_terminal_is_an_escape() -> None:
    line = record("the proxy says: %s", "\x1b[2J\x9b31m\rgone\n\tüber")
    assert ConsoleFormatter().format(line) == "the proxy says: \\x1b[2J\\x9b31m\\x0dgone\n\tüber"


def test_each_line_has_its_priority() -> None:
    text = PriorityFormatter().format(record("bad\n<0>worse", level=logging.ERROR))
    assert text == "<3>bad\n<3><0>worse"
    assert PriorityFormatter().format(record("", name="x", level=logging.DEBUG)) == "<7>"
