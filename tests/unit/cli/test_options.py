"""Values of options."""

import json
from collections.abc import Callable

import pytest
import typer

from tunproxy.cli import main, options
from tunproxy.logs.setup import take_down


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


@pytest.mark.parametrize("text", ["", "auto", "console", "json", "journal"])
def test_form_of_lines_is_one_of_those_that_there_are(text: str) -> None:
    assert options.log_format(text) == text


@pytest.mark.parametrize(("kind", "text"), [(options.log_format, "xml"), (options.log_level, "loud")])
def test_form_and_level_that_there_are_not_are_refused(kind: Callable[[str], str], text: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"'{text}' is none of .*, "):
        kind(text)


@pytest.mark.parametrize(
    "command",
    [
        ["up", "--log-format", "json", "--mtu", "1"],
        ["exec", "--log-format", "json", "--mtu", "1", "--", "true"],
        ["relay", "--check", "--log-format", "json", "--listen", "x"],
    ],
)
def test_what_is_wrong_is_told_in_the_form_that_was_asked_for(
    command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main.run(command) == 2
    finally:
        take_down()
    (line,) = capfd.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["level"] == "error"
    assert "mtu 1" in told["message"] or "'x'" in told["message"]
