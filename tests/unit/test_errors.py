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
