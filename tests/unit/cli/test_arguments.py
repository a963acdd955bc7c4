"""How ``--help`` shows arguments."""

import pytest

from tunproxy.cli.main import run


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("capture", "[OPTIONS] [FILTER]..."),
        ("replay", "[OPTIONS] [CAPTURE]"),
        ("undo", "[OPTIONS] [N]"),
        ("diff", "[OPTIONS] [A] [B]"),
        ("exec", "[OPTIONS] CMD [ARG]..."),
        ("plugins new", "[OPTIONS] NAME"),
    ],
)
def test_arguments_are_shown_as_we_write_them(
    command: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"Usage: tunproxy {command} {usage}"
    assert "<" not in said.partition("Options:")[0]


def test_what_is_said_of_an_argument_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "[A] A generation; default: running. [B] Another; default: what the files say. Options:" in said


@pytest.mark.parametrize("option", ["--snaplen", "--count", "--duration", "--size"])
def test_bound_that_is_none_is_no_default(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capture", "--help"]) == 0
    said = capsys.readouterr().out
    assert option in said
    assert "[default:" not in said
