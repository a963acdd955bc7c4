"""What goes on while workers carry packets, which are played; more in ``tests/system/test_up.py``."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.control.ending import ended_when_ready
from tunproxy.control import supervising
from tunproxy.control.endpoint import find
from tunproxy.control.settings import PolicyOptions, UpSettings
from tunproxy.control.up import up
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.errors import SystemChangeError

pytestmark = needs_namespaces

NAME = f"sv{os.getpid()}"


def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
    """Play a worker that serves until it is told to stop."""
    on_ready("serving")
    time.sleep(30)


def run(config: str = "") -> None:
    """Run ``up`` to its end, which comes as soon as it serves."""
    options = PolicyOptions(config=config)
    with ended_when_ready():
        assert (
            up(UpSettings(tun=NAME, workers=1, routes=(), worker_uid=0, mark=7, policy=options), serve) == 0
        )


def test_api_that_is_not_wanted_has_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise AssertionError("there is to be no socket")

    monkeypatch.setattr(supervising, "claim", refuse)
    file = tmp_path / "tunproxy.toml"
    file.write_text("[api]\nenabled = false\n")
    isolated(lambda: run(str(file)))


def test_socket_that_cannot_be_made_is_told_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        raise SystemChangeError("cannot make a control socket: the disk is full")

    monkeypatch.setattr(supervising, "claim", refuse)
    isolated(run)
    told = capfd.readouterr().err.splitlines()
    assert "tunproxy: cannot make a control socket: the disk is full" in told


def test_socket_is_gone_when_it_is_over() -> None:
    isolated(run)
    assert not [each for each in find() if each.name == NAME]
