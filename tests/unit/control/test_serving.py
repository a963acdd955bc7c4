"""Lines for the user."""

import os
import time

import pytest

from tests.unit.standard_error import full_pipe, standard_error_at
from tunproxy.control.serving import tell


def test_tell_writes_one_line_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    tell("cannot do it: no reason")
    assert capfd.readouterr() == ("", "tunproxy: cannot do it: no reason\n")


def test_tell_does_not_fail_where_nobody_listens_any_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with standard_error_at(writer):
        tell("nobody reads this")
    os.close(writer)


def test_tell_does_not_fail_where_the_disk_is_full() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with standard_error_at(full):
        tell("there is no room for this")
    os.close(full)


def test_tell_does_not_wait_for_somebody_who_does_not_read() -> None:
    began = time.monotonic()
    with full_pipe() as (_, writer), standard_error_at(writer):
        tell("not now")
    assert time.monotonic() - began < 20
