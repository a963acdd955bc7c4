"""The command ``tunproxy explain``."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.policies import use_tree_plugins, written
from tunproxy.cli.main import run
from tunproxy.control import client, explaining
from tunproxy.control.client import NotRunningError
from tunproxy.control.endpoint import ALIVE, Found

RULES = 'rules = ["DOMAIN-SUFFIX,ads.example,REJECT"]\n'


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tunproxy is running, and no name is known."""

    def choose(*which: str) -> Found:
        raise NotRunningError("no tunproxy is running")

    async def resolve(name: str) -> list[str]:
        return []

    monkeypatch.setattr(client, "choose", choose)
    monkeypatch.setattr(explaining, "_host_resolver", resolve)
    monkeypatch.setattr(explaining, "load_plugins", _plugins)
    use_tree_plugins(monkeypatch)


def _plugins(sources: Any) -> Any:
    from tests.unit.control.policies import plugins_for

    return plugins_for(sources)


@pytest.mark.usefixtures("nobody")
def test_without_a_running_one_the_files_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, RULES)
    assert run(["explain", "x.ads.example", "--config", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("tcp to x.ads.example:443 is refused, because of rule 1 (")
    assert f"by         {path} (no running tunproxy was asked)" in said


@pytest.mark.usefixtures("nobody")
def test_json_has_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, RULES)
    assert run(["explain", "udp:a.example:53", "--config", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["flow"]["protocol"], document["verdict"]["decided_by"]) == ("udp", "default")


def test_running_one_is_asked_about_its_flows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record: dict[str, Any] = {
        "flow": {"protocol": "icmp", "target": "192.0.2.1", "target_port": 0},
        "inputs": {
            "name": {"value": None, "from": None, "others": [], "why": "not needed"},
            "address": {"value": "192.0.2.1", "from": "client", "others": [], "why": ""},
            "process": None, "time": None, "protocol_spoken": None,
        },
        "plugins": [], "rules": [], "dials": [], "open": {"seconds": 2.5, "octets_up": 56, "octets_down": 0},
        "closed": None,
        "verdict": {"kind": "dial", "chain": "direct", "address": None, "port": None, "needs": [],
                    "decided_by": "default", "why": "default", "rule": None},
    }  # fmt: skip
    monkeypatch.setattr(client, "choose", lambda *which: Found(Path("/run/tunproxy/tun0.sock"), ALIVE, 7))
    monkeypatch.setattr(client, "fetch_flow", lambda path, number: {**record, "number": number})
    assert run(["explain", "--flow", "17"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ping of 192.0.2.1 goes through direct, by default, as no rule matched")
    assert "open       for 2.5 s; 56 octets up, 0 down" in said
    assert said.endswith("by         tun0, which is running (process 7)\n")


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["a.example", "--flow", "1"],
        ["--flow", "1", "--offline"],
        ["a.example", "--tun", "a", "--socket", "b"],
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *wrong]) == 2
    assert capfd.readouterr().err.startswith("tunproxy: ")
