"""Whose mistake it is."""

import pytest

from tunproxy.blame import failure, source_of


def test_failure_names_the_last_line_of_the_plugins_own_file() -> None:
    def fails() -> None:
        int("x")  # the last line of this file that leads there

    with pytest.raises(ValueError, match="invalid literal") as caught:
        fails()
    line = fails.__code__.co_firstlineno + 1
    words = "ValueError: invalid literal for int() with base 10: 'x'"
    assert failure(caught.value, source_of(fails)) == f"{words} (test_blame.py:{line})"
    assert failure(caught.value, "") == failure(caught.value, "/elsewhere.py") == words
    assert source_of(len) == source_of(None) == ""

    class Fails:
        def __init__(self) -> None:
            fails()

    assert source_of(Fails) == source_of(fails) == __file__
