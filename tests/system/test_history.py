"""Flows of a running ``up`` are recorded, outlive it, and are replayed: the same rules change nothing.

The picture of the namespaces is in ``hostlab``.
"""

import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.hostlab import TUNPROXY, WORLD_IPV4, HostLab, eventually, hello_from, host_for_tests
from tunproxy.control.history.query import Filter, Ring
from tunproxy.errors import ConfigError

pytestmark = pytest.mark.timeout(110)

TUN = "history0"
REFUSED, COUNTED, PLAIN = 7101, 7102, 7103
RULES = (
    f"DST-PORT,{REFUSED},REJECT",
    f"DST-PORT,{COUNTED},REJECT,observe",
    f"AND,((NETWORK,tcp),(PROCESS-NAME,{Path(sys.executable).resolve().name})),DIRECT",
    "MATCH,REJECT-DROP",
)


@pytest.fixture
def lab() -> Iterator[HostLab]:
    yield from host_for_tests()


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the ring where no other run has one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return tmp_path / "tunproxy" / "history.sqlite"


def written(folder: Path) -> Path:
    path = folder / "tunproxy.toml"
    path.write_text(f"rules = {json.dumps(RULES)}\n[dns]\nmode = 'off'\n[history]\nenabled = true\n")
    return path


def entries(lab: HostLab, *options: str) -> list[dict[str, Any]]:
    done = lab.run(*TUNPROXY, "history", "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


def status(lab: HostLab) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(lab.run(*TUNPROXY, "status", "--json", "--tun", TUN).stdout)
    return told


def recorded(ring: Path) -> int:
    """Return how many flows are in the ring, while somebody writes it."""
    try:
        with Ring(ring) as found:
            return found.count(Filter())
    except ConfigError:  # it is not there, or just being made
        return 0


def replay(lab: HostLab, config: Path, rules: Path | None = None) -> tuple[int, dict[str, Any]]:
    options = ["--config", str(config), "--rules", str(rules)] if rules else ["--rules", str(config)]
    done = lab.run(*TUNPROXY, "replay", "--json", *options)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_flows_are_recorded_outlive_a_kill_and_are_replayed(lab: HostLab, ring: Path, tmp_path: Path) -> None:
    config = written(tmp_path)
    process = lab.start_up("--tun", TUN, "--config", str(config))
    with lab.greeter(lab.world, WORLD_IPV4, COUNTED), lab.greeter(lab.world, WORLD_IPV4, PLAIN):
        said = [lab.run(*hello_from(WORLD_IPV4, port)).stdout for port in (REFUSED, COUNTED, PLAIN)]
    assert said == ["ConnectionRefusedError\n", "hello\n", "hello\n"]
    assert eventually(lambda: recorded(ring) == 3, 20)
    assert eventually(lambda: status(lab)["history"]["recorded"] == 3, 20)  # counted once it is written
    told = status(lab)
    assert [(rule["rule"], rule["flows"]) for rule in told["observed"]] == [(RULES[1], 1)]
    assert told["observed"][0]["octets"] == len("hello\n")
    assert told["history"] == {"is_recording": True, "path": str(ring), "recorded": 3, "missed": 0}

    process.kill()
    process.wait(20)
    found = entries(lab)
    assert [(each["target_port"], each["way"], each["rule"], each["down"]) for each in found] == [
        (REFUSED, "REJECT", RULES[0], 0),
        (COUNTED, "DIRECT", RULES[2], 6),
        (PLAIN, "DIRECT", RULES[2], 6),
    ]
    assert [each["place"] for each in found] == [f"{config}:1"] * 3
    assert found[1]["observed"] == [{"rule": RULES[1], "place": f"{config}:1", "target": "REJECT"}]
    assert found[1]["process"]["path"] == str(Path(sys.executable).resolve())
    assert [rule["result"] for rule in found[1]["why"]["rules"]] == ["not_matched", "observed", "matched"]
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600

    assert replay(lab, config)[1] | {"groups": []} == {
        "flows": 3, "changed": 0, "groups": [], "unknown": {}, "not_compared": {}, "changes": [], "notes": [],
    }  # fmt: skip
    new = tmp_path / "new.rules"
    new.write_text("\n".join((RULES[0], RULES[1].removesuffix(",observe"), *RULES[2:])))
    code, told = replay(lab, config, new)
    assert (code, told["changed"]) == (1, 1)
    change = told["changes"][0]
    assert (change["target_port"], change["from"], change["to"]) == (COUNTED, "direct", "reject")
    assert change["place"] == f"{new}:2"
