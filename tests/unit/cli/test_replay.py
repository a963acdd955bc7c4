"""The command ``tunproxy replay``."""

import json
import time
from pathlib import Path

import pytest

from tests.unit.control.history.captures import pcap, syn
from tests.unit.control.history.world import entry, text_of
from tests.unit.control.policies import plugins_for, written
from tunproxy.cli.main import run
from tunproxy.control.history import replaying
from tunproxy.control.history.store import Store


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration that sends all direct, a ring with a flow, and new rules."""
    monkeypatch.setattr(replaying, "load_plugins", plugins_for)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    store = Store(tmp_path / "history.sqlite", size=1 << 20, age=3600)
    store.add([entry(ended=time.time()), entry(ended=time.time() - 500, target_port=80)])
    store.close()
    (tmp_path / "same.rules").write_text("MATCH,direct\n")
    (tmp_path / "new.rules").write_text("DST-PORT,443,REJECT\n")
    return str(written(tmp_path, text_of()))


def test_exit_code_says_whether_something_changes(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same, new = str(tmp_path / "same.rules"), str(tmp_path / "new.rules")
    assert run(["replay", "--rules", same, "--config", config]) == 0
    assert capsys.readouterr().out == "0 of 2 flows would go elsewhere\n"
    assert run(["replay", "--rules", config]) == 0
    capsys.readouterr()
    assert run(["replay", "--rules", new, "--config", config]) == 1
    assert capsys.readouterr().out.startswith("direct → reject: 1 flow")
    assert run(["replay", "--rules", same, "--config", config, "--all", "--since", "5m"]) == 0
    assert capsys.readouterr().out.startswith("direct, as before: 1 flow")


def test_json_has_every_flow_that_changes(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = str(tmp_path / "new.rules")
    assert run(["replay", "--rules", new, "--config", config, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["flows"], told["changed"]) == (2, 1)
    assert [(each["from"], each["to"], each["place"]) for each in told["changes"]] == [
        ("direct", "reject", f"{new}:1")
    ]


def test_capture_is_replayed(config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = pcap(tmp_path / "x.pcap", [syn(), syn(dport=80)])
    path.write_bytes(path.read_bytes()[:-1])
    assert run(["replay", str(path), "--rules", str(tmp_path / "new.rules"), "--config", config]) == 1
    said = capfd.readouterr()
    assert said.out.splitlines()[-1] == "1 of 1 flow would go elsewhere"
    assert said.err == f"note: {path} is cut off after 1 packet\n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "name the new rules: --rules FILE"),
        (["x.pcap", "--rules", "new.rules", "--since", "1h"], "--since and --file are about"),
        (["--rules", "none.rules"], "cannot read none.rules: "),
        (["none.pcap", "--rules", "new.rules"], "cannot read none.pcap: no such file"),
        (["new.rules", "--rules", "new.rules"], "cannot read new.rules: it is no capture"),
        (["--rules", "broken.rules"], "broken.rules:2:1: unknown rule type 'X'"),
        (["--rules", "new.rules", "--file", "new.rules"], "cannot read new.rules: file is not a database"),
    ],
)
def test_bad_input_is_told_in_a_line(
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.rules").write_text("MATCH,direct\nX,y,direct\n")
    assert run(["replay", *options, "--config", config]) == 2
    said = capfd.readouterr().err
    assert why in said
    assert "Traceback" not in said
