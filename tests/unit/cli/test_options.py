"""Values of options."""

import pytest
import typer

from tunproxy.cli import options


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("42", 42), ("0x7a", 0x7A), ("-1", -1), (7, 7)])
def test_number_is_decimal_or_hexadecimal(text: str | int, number: int) -> None:
    assert options.number(text) == number


@pytest.mark.parametrize("text", ["", "x", "1.5", "0xg", "10 20"])
def test_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a number"):
        options.number(text)


def test_seconds_may_have_a_fraction() -> None:
    assert options.seconds("1.5") == 1.5
    with pytest.raises(typer.BadParameter, match="is not a number"):
        options.seconds("soon")
