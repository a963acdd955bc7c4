"""The tree of errors."""

import inspect

import pytest

from tunproxy import errors

ALL = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_a_tunproxy_error_that_exits_with_2(error: type[errors.TunproxyError]) -> None:
    assert issubclass(error, errors.TunproxyError)
    assert error.exit_code == 2


@pytest.mark.parametrize("error", ALL)
def test_error_reads_as_its_message(error: type[errors.TunproxyError]) -> None:
    assert (
        str(error("cannot open /dev/net/tun: permission denied"))
        == "cannot open /dev/net/tun: permission denied"
    )


def test_error_of_an_option_knows_which() -> None:
    error = errors.OptionError("pin: 'x' is no SHA-256", "tls", "pin", 0)
    assert str(error) == "pin: 'x' is no SHA-256"
    assert error.path == ("tls", "pin", 0)


def test_failure_names_the_last_line_of_the_plugins_own_file() -> None:
    def fails() -> None:
        int("x")  # the last line of this file that leads there

    with pytest.raises(ValueError, match="invalid literal") as caught:
        fails()
    line = fails.__code__.co_firstlineno + 1
    words = "ValueError: invalid literal for int() with base 10: 'x'"
    assert errors.failure(caught.value, errors.source_of(fails)) == f"{words} (test_errors.py:{line})"
    assert errors.failure(caught.value, "") == errors.failure(caught.value, "/elsewhere.py") == words
    assert errors.source_of(len) == errors.source_of(None) == ""

    class Fails:
        def __init__(self) -> None:
            fails()

    assert errors.source_of(Fails) == errors.source_of(fails) == __file__
