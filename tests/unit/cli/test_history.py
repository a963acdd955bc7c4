"""The command ``tunproxy history``."""

import json
import time
from pathlib import Path

import pytest

from tests.unit.control.history.world import entry, live
from tunproxy.cli.main import run
from tunproxy.control.history.store import Store


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ring with three flows, where the command looks."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    now = time.time()
    store = Store(tmp_path / "history.sqlite", size=1 << 20, age=3600)
    with live(tmp_path, "DST-PORT,443,REJECT,observe", "MATCH,work") as world:
        decided = world.entry(name="c.example") | {"ended": now}
    old = entry(name="a.example", ended=now - 1000)
    store.add(
        [old, entry(name="b.example", ended=now, chain="work → node"), decided], missed=2, why="too fast"
    )
    store.close()
    return store.path


def shown(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert run(["history", *options]) == 0
    return capsys.readouterr().out.splitlines()


def test_flows_are_shown(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys)
    assert [line.split()[0] for line in lines] == ["id", "1", "2", "3", "3", "2"]
    assert lines[-1] == "2 flows more were not recorded: too fast"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--since", "10m"], ["b.example", "c.example"]),
        (["--until", "10m"], ["a.example"]),
        (["--host", "b.*"], ["b.example"]),
        (["--upstream", "node"], ["b.example"]),
        (["--rule", "match"], ["c.example"]),
        (["--process", "curl", "--limit", "1"], ["b.example"]),
    ],
)
def test_filters(
    ring: Path, capsys: pytest.CaptureFixture[str], options: list[str], names: list[str]
) -> None:
    found = [json.loads(line) for line in shown(capsys, "--json", *options)]
    assert [each["name"] for each in found] == names


def test_one_flow_is_explained(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(capsys, "--why", "3"))
    assert "would have sent it to REJECT, and only counts" in text
    assert "because of rule 2" in text
    assert json.loads("\n".join(shown(capsys, "--why", "3", "--json")))["name"] == "c.example"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["--file", "/nowhere"], "cannot read /nowhere: there is no such file"),
        (["--why", "99"], "there is no flow 99"),
        (["--limit", "-1"], ""),
    ],
)
def test_what_cannot_be_shown_is_told(
    ring: Path, capfd: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    assert run(["history", *options]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"tunproxy: {why}")
    assert said.count("\n") == 1
