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


@pytest.mark.parametrize(
    ("text", "octets"),
    [("0", 0), ("5000", 5000), ("64k", 64 << 10), ("256M", 256 << 20), ("2G", 2 << 30), (1 << 28, 1 << 28)],
)
def test_size_is_in_octets_or_powers_of_1024(text: str | int, octets: int) -> None:
    assert options.size(text) == octets


@pytest.mark.parametrize("text", ["", "M", "1.5G", "-1", "12MK", "12 M", "1T", "٣M", "9" * 5000])
def test_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"is not a size \(such as 256M\)"):
        options.size(text)


def test_seconds_may_have_a_fraction() -> None:
    assert options.seconds("1.5") == 1.5
    with pytest.raises(typer.BadParameter, match="is not a number"):
        options.seconds("soon")


def test_policy_hides_the_passwords_of_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[str] = []
    monkeypatch.setattr(options, "hide_arguments", hidden.extend)
    assert options.policy("", "", "socks5://joe:a%3Ab@h:1").upstream.reveal() == "socks5://joe:a%3Ab@h:1"
    assert hidden == ["a%3Ab"]
