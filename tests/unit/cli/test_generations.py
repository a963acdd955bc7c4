"""The commands about generations: what they ask, and what they do where nobody runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_generations_text import row
from tests.unit.control.generations.kept import keep, store_in
from tunproxy.cli.main import run
from tunproxy.control import client
from tunproxy.control.client import NotRunningError
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.control.generations import desk
from tunproxy.control.generations.contents import CONFIG, FileState

LISTED: dict[str, Any] = {"running": 1, "generations": [row(1)], "broken": [], "problem": ""}
UNDONE: dict[str, Any] = {
    "generation": 3, "restores": 1, "is_new": True, "written": ["/x"], "moved": {}, "notes": [], "kept_as": 2,
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a running tunproxy was asked."""
    found: list[object] = []

    def answer(name: str, document: dict[str, Any]) -> None:
        def ask(path: Path, *what: object, **how: object) -> dict[str, Any]:
            found.append((name, *what, *how.values()))
            return document

        monkeypatch.setattr(client, name, ask)

    monkeypatch.setattr(
        client, "choose", lambda tun, socket, **_: Found(Path(socket or f"/run/{tun}"), ALIVE, 7)
    )
    answer("fetch_generations", LISTED)
    answer("fetch_diff", {"lines": ["-a", "+b"]})
    answer("ask_undo", UNDONE)
    answer("ask_confirm", {"generation": 3})
    answer("ask_reload", {"policy": {}})
    return found


def test_diff_whose_output_is_closed_is_no_mistake(
    asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert run(["diff"]) == 1


def test_running_one_is_asked(asked: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generations"]) == 0
    assert "home.rules +1 -0" in capsys.readouterr().out
    assert run(["generations", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == LISTED
    assert [run(["diff"]), run(["diff", "3"]), run(["diff", "3", "4", "--secrets"])] == [1, 1, 1]
    assert "\x1b" not in capsys.readouterr().out
    assert [run(["undo"]), run(["undo", "1", "--keep-files"]), run(["confirm"])] == [0, 0, 0]
    assert capsys.readouterr().out.endswith("generation 3 stays\n")
    assert run(["reload", "--confirm", "60"]) == 0
    assert capsys.readouterr().out.endswith("it is taken back in 60 s: tunproxy confirm lets it stay\n")
    assert asked == [
        ("fetch_generations",),
        ("fetch_generations",),
        ("fetch_diff", "running", "disk", False),
        ("fetch_diff", "3", "running", False),
        ("fetch_diff", "3", "4", True),
        ("ask_undo", 0, False),
        ("ask_undo", 1, True),
        ("ask_confirm",),
        ("ask_reload", 60),
    ]


def test_no_difference_is_exit_code_0(asked: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "fetch_diff", lambda *_, **__: {"lines": []})
    assert run(["diff"]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        ["undo", "x"],
        ["undo", "0"],
        ["undo", "-1"],
        ["reload", "--confirm", "0"],
        ["diff", "--tun", "a", "--socket", "b"],
    ],
)
def test_options_that_make_no_sense_are_refused(
    asked: list[object], wrong: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(wrong) == 2
    assert capfd.readouterr().err.startswith("tunproxy: ")
    assert asked == []


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which no tunproxy runs; return where one would have kept something."""

    def choose(tun: str, socket: str, **_: bool) -> Found:
        raise NotRunningError("no tunproxy is running")

    monkeypatch.setattr(client, "choose", choose)
    monkeypatch.setattr(desk, "state_folder", lambda: tmp_path)
    monkeypatch.setattr(desk, "SYSTEM_STATE", tmp_path / "none")
    return tmp_path


def test_where_nobody_runs_what_is_kept_answers(nobody: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = nobody / "tunproxy.toml"
    store = store_in(nobody)
    keep(store, {str(config): FileState(CONFIG, b'default = "DIRECT"\n')}, config=str(config))
    config.write_text("[broken\n")
    assert run(["generations"]) == 0
    assert run(["diff"]) == 1
    assert "+[broken" in capfd.readouterr().out
    assert run(["undo", "--keep-files"]) == 3
    assert run(["undo"]) == 0
    assert config.read_text() == 'default = "DIRECT"\n'
    assert "tunproxy undo 2 brings it back" in capfd.readouterr().out
    assert run(["confirm"]) == 3
    assert run(["generations", "--socket", "/x"]) == 3


def test_where_nothing_is_kept_either_that_is_told(nobody: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["undo", "--tun", "tun7"]) == 3
    assert "no tunproxy called 'tun7' is running, and nothing is kept of one" in capfd.readouterr().err
    for name in ("tun0", "tun1"):
        (nobody / "generations" / name).mkdir(parents=True)
        (nobody / "generations" / name / "1.json").touch()
    assert run(["generations"]) == 2
    assert "several have kept something" in capfd.readouterr().err
    assert run(["generations", "--tun", "tun0"]) == 2
    assert "nothing is kept that could be used" in capfd.readouterr().err
