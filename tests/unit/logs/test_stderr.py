"""Standard error takes lines, or does not, and nobody waits for it for long."""

import os
import time

import pytest

from tests.unit.logs.records import record
from tests.unit.standard_error import full_pipe, standard_error_at
from tunproxy.logs.console import ConsoleFormatter
from tunproxy.logs.stderr import PORTION, Stderr, StderrHandler


def emptied(reader: int) -> bytes:
    os.set_blocking(reader, False)
    found = b""
    while True:
        try:
            found += os.read(reader, 1 << 16)
        except BlockingIOError:
            return found


def test_handler_writes_what_its_formatter_makes(capfd: pytest.CaptureFixture[str]) -> None:
    StderrHandler(ConsoleFormatter(), {}).handle(record("it is %s", "late"))
    assert capfd.readouterr() == ("", "it is late\n")


def test_line_that_cannot_be_written_is_told_of(capfd: pytest.CaptureFixture[str]) -> None:
    StderrHandler(ConsoleFormatter(), {}).handle(record("it is %d", "late"))
    text = capfd.readouterr().err
    assert text.startswith("'it is %d', which cannot be written: TypeError(")
    assert text.count("\n") == 1


def test_lone_surrogate_is_written() -> None:
    reader, writer = os.pipe()
    with standard_error_at(writer):
        Stderr().write("\udcff\n")
    assert os.read(reader, 100) == b"\\udcff\n"
    os.close(reader)
    os.close(writer)


def test_line_longer_than_a_pipe_takes_at_once_is_whole() -> None:
    reader, writer = os.pipe()
    with standard_error_at(writer):
        Stderr().write("x" * (3 * PORTION) + "\n")
    assert emptied(reader) == b"x" * (3 * PORTION) + b"\n"
    os.close(reader)
    os.close(writer)


def test_closed_pipe_and_full_disk_are_no_errors() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for fd in (writer, full):
        with standard_error_at(fd):
            Stderr().write("nobody reads this\n")
        os.close(fd)


def test_lost_lines_are_counted_and_only_the_first_waits() -> None:
    with full_pipe() as (reader, writer), standard_error_at(writer):
        stderr = Stderr()
        began = time.monotonic()
        stderr.write("one\n")
        assert time.monotonic() - began < 20
        clock = iter([0.0] * 1000)
        stderr._clock = lambda: next(clock)  # type: ignore[misc]  # time stands still: who waits, waits for ever
        stderr.write("two\n")
        emptied(reader)
        stderr.write("three\n")
        stderr.write("four\n")
        assert emptied(reader) == b"tunproxy: 2 lines were lost here\nthree\nfour\n"
