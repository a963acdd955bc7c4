"""Lines for the user."""

import pytest

from tunproxy.control.serving import tell


def test_tell_writes_one_line_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    tell("cannot do it: no reason")
    assert capfd.readouterr() == ("", "tunproxy: cannot do it: no reason\n")
