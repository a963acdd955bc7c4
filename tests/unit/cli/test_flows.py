"""The command ``tunproxy flows``."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_flows_text import row
from tunproxy.cli.main import run
from tunproxy.control import client
from tunproxy.control.endpoint import ALIVE, Found

FLOWS: dict[str, Any] = {"flows": [row(5)], "open": 1, "begun": 5, "kept": 0}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What a running tunproxy was asked for."""
    found: list[tuple[object, ...]] = []

    def fetch(path: Path, limit: int, state: str) -> dict[str, Any]:
        found.append((str(path), limit, state))
        return FLOWS

    monkeypatch.setattr(client, "choose", lambda tun, socket: Found(Path(socket or f"/run/{tun}"), ALIVE, 7))
    monkeypatch.setattr(client, "fetch_flows", fetch)
    return found


def test_flows_are_shown(asked: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["flows", "--tun", "tun0"]) == 0
    assert "tcp 192.0.2.1:443" in capsys.readouterr().out
    assert run(["flows", "--socket", "/x", "-n", "5", "--open", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == FLOWS
    assert run(["flows", "--closed"]) == 0
    assert asked == [("/run/tun0", 30, ""), ("/x", 5, "open"), ("/run", 30, "closed")]


@pytest.mark.parametrize(
    "wrong", [["--open", "--closed"], ["--tun", "a", "--socket", "b"], ["-n", "-1"], ["port:"]]
)
def test_options_that_make_no_sense_are_refused(wrong: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["flows", *wrong]) == 2
    assert capfd.readouterr().err.startswith("tunproxy: ")


def test_flows_are_followed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row(5), "process": "curl"}, {**row(6), "state": "closed", "reason": "closed", "seconds": 2.0}]
    monkeypatch.setattr(client, "choose", lambda tun, socket: Found(Path("/x"), ALIVE, 7))
    monkeypatch.setattr(client, "follow_flows", lambda path: iter(rows))
    assert run(["flows", "--follow", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    assert run(["flows", "-f"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "     5  open      tcp 192.0.2.1:443 (curl) through direct default",
        "     6  closed    tcp 192.0.2.1:443 through direct after 2 s, 10 B up, 2.0 kB down, default",
    ]
    assert run(["flows", "-f", "--closed"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("     6")
    assert run(["flows", "-f", "--open"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("     5")


def test_filter_chooses(
    asked: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{**row(number), "target_port": number} for number in (9, 8, 7, 6)]
    monkeypatch.setattr(client, "fetch_flows", lambda path, limit, state: {**FLOWS, "flows": rows[:limit]})
    assert run(["flows", "port:6-8", "tcp", "-n", "2", "--json"]) == 0
    assert [each["number"] for each in json.loads(capsys.readouterr().out)["flows"]] == [8, 7]
    assert run(["flows", "process:curl"]) == 0  # whose these are, nobody has said
    assert capsys.readouterr().out.startswith("no flow to show")
    told = [{**row(1), "process": "curl"}, {**row(2), "process": "git"}]
    monkeypatch.setattr(client, "follow_flows", lambda path: iter(told))
    assert run(["flows", "process:curl", "-f", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == told[:1]


def test_following_ends_with_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> Any:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(client, "choose", lambda tun, socket: Found(Path("/x"), ALIVE, 7))
    monkeypatch.setattr(client, "follow_flows", interrupted)
    assert run(["flows", "-f"]) == 0
