"""Commands to a running tunproxy: whom they ask, and what they say where nobody is."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.test_status_text import QUIET
from tunproxy.cli import main
from tunproxy.cli.status_text import describe_status
from tunproxy.control import client, endpoint, rescue
from tunproxy.control import down as ending
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.errors import TunproxyError


def test_status_is_that_of_who_was_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen: list[tuple[str, str]] = []

    def choose(name: str, path: str) -> Found:
        chosen.append((name, path))
        return Found(Path("/x/t0.sock"), ALIVE)

    monkeypatch.setattr(client, "choose", choose)
    monkeypatch.setattr(client, "fetch_status", lambda path: {**QUIET, "name": path.name})
    for line in ("status --json", "status --tun t0", "status --socket /x/t0.sock"):
        assert main.run(line.split()) == 0
    assert chosen == [("", ""), ("t0", ""), ("", "/x/t0.sock")]
    out = capsys.readouterr().out
    document, end = json.JSONDecoder().raw_decode(out)
    assert document == {**QUIET, "name": "t0.sock"}
    assert out[end:] == 2 * f"\n{describe_status(document)}" + "\n"


def test_status_of_nobody_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(endpoint, "find", list)
    assert main.run(["status", "--json"]) == 3
    assert capfd.readouterr() == (
        "",
        "tunproxy: no tunproxy is running (start one with tunproxy up, or tunproxy exec)\n",
    )


def test_down_ends_what_serves_the_host(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = Found(Path("/run/tunproxy/tun0.sock"), ALIVE, 7)
    monkeypatch.setattr(endpoint, "find", lambda: [mine, Found(Path("/run/tunproxy/exec-9.sock"), ALIVE, 9)])
    ended: list[Found] = []
    monkeypatch.setattr(ending, "end", ended.append)
    assert main.run(["down"]) == 0
    assert ended == [mine]
    assert capfd.readouterr().out == "tun0 has ended; the network is as it was\n"
    monkeypatch.setattr(endpoint, "find", list)
    assert main.run(["down"]) == 3
    assert main.run(["down", "--tun", "a", "--socket", "/b"]) == 2
    assert len(ended) == 1


def test_reload_asks_the_process_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = Found(Path("/run/tunproxy/tun0.sock"), ALIVE, 7)
    monkeypatch.setattr(endpoint, "find", lambda: [mine, Found(Path("/run/tunproxy/exec-9.sock"), ALIVE, 9)])
    asked: list[Path] = []

    def refuse(path: Path) -> None:
        asked.append(path)
        raise TunproxyError("the old policy stays: no reason")

    monkeypatch.setattr(client, "ask_reload", refuse)
    assert main.run(["reload", "--pid", "7"]) == 2
    assert asked == [mine.path]
    assert capfd.readouterr().err == "tunproxy: the old policy stays: no reason\n"


@pytest.mark.parametrize("holds", [False, True])
def test_status_of_nobody_says_whether_a_kill_switch_holds(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], holds: bool
) -> None:
    monkeypatch.setattr(endpoint, "directories", list)
    monkeypatch.setattr(rescue, "holds_now", lambda: holds)
    assert main.run(["status", "--tun", "nobody0"]) == 3
    assert (rescue.HOLDS in capfd.readouterr().err) == holds
