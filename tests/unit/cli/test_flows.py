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


@pytest.mark.parametrize("wrong", [["--open", "--closed"], ["--tun", "a", "--socket", "b"], ["-n", "-1"]])
def test_options_that_make_no_sense_are_refused(wrong: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["flows", *wrong]) == 2
    assert capfd.readouterr().err.startswith("tunproxy: ")
