"""The command ``tunproxy top``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.top.told import look, row
from tunproxy.cli.main import run
from tunproxy.cli.top import command, once
from tunproxy.control import client
from tunproxy.control.endpoint import ALIVE, Found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a running tunproxy was asked for."""
    found: list[object] = []

    def watch(path: Path, seconds: float) -> Iterator[dict[str, Any]]:
        found.append((str(path), seconds))
        yield look(1, row(1, process="curl"), row(2, process="git"))
        yield look(2, octets=((1, 0, 7),))

    monkeypatch.setattr(client, "choose", lambda tun, socket: Found(Path(socket or f"/run/{tun}"), ALIVE, 7))
    monkeypatch.setattr(once, "watch_flows", watch)
    return found


class Terminal:
    """Stands for a stream that a person looks at."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, kind: str = "xterm") -> None:
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr(sys, "stdin", Terminal(sys.stdin))
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))


def test_table_is_printed_where_there_is_no_terminal(
    asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["top", "process:curl", "port:443", "--tun", "tun0", "-d", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in lines[1:-1]] == ["curl"]
    assert lines[-1] == "2 open, 7 B/s down, - up"
    assert asked == [("/run/tun0", 2.0)]


def test_table_is_printed_where_nobody_can_type(
    asked: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch)
    monkeypatch.setattr(sys, "stdin", None)  # closed
    assert run(["top"]) == 0
    assert capsys.readouterr().out.endswith("2 open, 7 B/s down, - up\n")


def test_table_is_printed_where_it_is_asked_for(
    asked: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch)
    assert run(["top", "--once", "--by", "process", "--sort", "process", "-n", "1", "--socket", "/x"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["process", "curl", "1"]
    assert run(["top", "--once", "--sort", "down/s"]) == 0
    assert (
        capsys.readouterr().out.splitlines()[1].split()[4] == "curl"
    )  # what sorts anyway is not turned round


def test_table_is_printed_at_a_terminal_that_cannot_be_drawn_on(
    asked: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch, "dumb")
    assert run(["top"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 open, 7 B/s down, - up"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--tun", "a", "--socket", "b"], "--tun and --socket exclude each other"),
        (["--by", "colour"], "--by colour: flow, process, rule or upstream"),
        (["--sort", "colour"], "--sort colour: one of flow, age, state"),
        (["--by", "process", "--sort", "target"], "--sort target: one of process, open, over"),
        (["-d", "0.1"], "--delay 0.1: from 0.5 to 60 seconds"),
        (["-d", "nan"], "--delay nan: from 0.5 to 60 seconds"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    wrong: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["top", *wrong]) == 2
    assert said in capfd.readouterr().err


def test_what_is_missing_is_named(
    asked: list[object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at_a_terminal(monkeypatch)
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert run(["top"]) == 2
    what = "textual is not installed (pip install 'tunproxy[top]', or tunproxy top --once)"
    assert capfd.readouterr().err == f"tunproxy: cannot draw: {what}\n"
    assert run(["top", "--once"]) == 0  # which needs none


def test_terminal_program_is_told_what_to_show(asked: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    app = pytest.importorskip("tunproxy.cli.top.app", reason="textual is not installed")
    made: list[Any] = []

    class App:
        def __init__(self, *told: object) -> None:
            made.append(told)

        def run(self) -> None:
            made.append("run")

    monkeypatch.setattr(app, "TopApp", App)
    at_a_terminal(monkeypatch)
    assert run(["top", "curl", "--by", "rule", "--tun", "tun0"]) == 0
    view, *rest = made[0]
    assert (view.kind, view.text, rest, made[1]) == ("rule", "curl", ["tun0", "", 1.0], "run")
