"""``tunproxy service``: options are checked first, and what systemd says is put for people."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunproxy.cli import main
from tunproxy.cli import service as commands
from tunproxy.cli.service import describe
from tunproxy.control import rescue
from tunproxy.host import service as host

RUNNING = {
    "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled",
    "FragmentPath": "/etc/systemd/system/tunproxy.service", "MainPID": "812",
    "StatusText": "tunproxy0 mtu 1500", "Result": "success", "NRestarts": "0",
    "ActiveEnterTimestamp": "Sat 2026-11-21 18:00:00 UTC",
}  # fmt: skip
FAILED = {**RUNNING, "ActiveState": "failed", "SubState": "failed", "MainPID": "0", "Result": "watchdog",
          "NRestarts": "5", "StatusText": ""}  # fmt: skip
NOT_THERE = {"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": ""}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Collect what would be installed; the configuration is below tmp_path."""
    seen: list[Any] = []

    def install(_: object, program: list[str], options: list[str], *, now: bool) -> Iterator[str]:
        seen.append((options, now))
        yield "installed"

    monkeypatch.setattr(host.Service, "demand", lambda *_: None)
    monkeypatch.setattr(host.Service, "install", install)
    monkeypatch.setattr(commands, "CONFIG_HOME", str(tmp_path))
    return seen


def test_install_hands_on_the_options_of_up(installed: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["service", "install"]) == 0
    assert main.run(["service", "install", "--now", "--", "--mark", "7", "--route", "10.0.0.0/8"]) == 0
    assert installed == [([], False), (["--mark", "7", "--route", "10.0.0.0/8"], True)]
    assert capfd.readouterr().out == "installed\ninstalled\n"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("-- --nonsense", "no such option: --nonsense"),
        ("-- --mtu x", "invalid value for '--mtu': 'x' is not a number"),
        ("-- --upstream socks5://a:b@c:1", "cannot write the unit: everybody could read the password"),
        ("-- --config /no/such/file", "cannot read /no/such/file"),
    ],
)
def test_install_with_options_that_cannot_be_installs_nothing(
    installed: list[Any], capfd: pytest.CaptureFixture[str], line: str, complaint: str
) -> None:
    assert main.run(["service", "install", *line.split()]) == 2
    assert installed == []
    assert capfd.readouterr().err.startswith(f"tunproxy: {complaint}")


def test_install_with_a_broken_configuration_shows_what_is_wrong_and_installs_nothing(
    installed: list[Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tunproxy/tunproxy.toml"
    config.parent.mkdir()
    config.write_text('rules = ["DOMAN,x,DIRECT"]\n')
    assert main.run(["service", "install"]) == 2
    assert installed == []
    *wrong, last = capfd.readouterr().err.splitlines()
    assert f"{config}:1:11: unknown rule type 'DOMAN' (did you mean 'DOMAIN'?)" in wrong
    assert last == "tunproxy: cannot install the service: its configuration cannot be used (see above)"


@pytest.mark.parametrize(
    ("found", "code"), [(RUNNING, 0), (FAILED, 3), (NOT_THERE, 4)], ids=["runs", "failed", "none"]
)
def test_status_has_the_exit_codes_of_systemctl(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], found: dict[str, str], code: int
) -> None:
    monkeypatch.setattr(host.Service, "status", lambda _: found)
    assert main.run(["service", "status"]) == code
    assert capfd.readouterr().out == describe(found) + "\n"
    assert main.run(["service", "status", "--json"]) == code
    assert json.loads(capfd.readouterr().out) == found


def test_status_of_one_that_runs() -> None:
    assert describe(RUNNING) == (
        "active (running) since Sat 2026-11-21 18:00:00 UTC, enabled\n"
        "  unit      /etc/systemd/system/tunproxy.service\n"
        "  process   812\n"
        "  says      tunproxy0 mtu 1500"
    )


def test_status_of_one_that_failed() -> None:
    assert describe(FAILED) == (
        "failed (failed), enabled\n"
        "  unit      /etc/systemd/system/tunproxy.service\n"
        "  restarts  5\n"
        "  ended by  watchdog"
    )


def test_status_of_none() -> None:
    assert describe(NOT_THERE) == "not installed (tunproxy service install)"


def test_uninstall_says_what_it_did(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rescue, "holds_now", lambda: False)
    monkeypatch.setattr(host.Service, "uninstall", lambda _: iter(["stopped", "removed"]))
    assert main.run(["service", "uninstall"]) == 0
    assert capfd.readouterr() == ("stopped\nremoved\n", "")


def test_uninstall_undoes_a_kill_switch_that_was_left(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host.Service, "uninstall", lambda _: iter(["stopped"]))
    monkeypatch.setattr(rescue, "holds_now", lambda: True)
    monkeypatch.setattr(rescue, "rescue", lambda: ["the kill switch", "28 policy rules"])
    assert main.run(["service", "uninstall"]) == 0
    assert capfd.readouterr().out == "stopped\nremoved the kill switch, 28 policy rules\n"
