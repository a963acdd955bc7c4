"""The command ``tunproxy ui``."""

from pathlib import Path

import pytest

from tunproxy.cli.main import run
from tunproxy.control import client
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.errors import TunproxyError

URL = "http://127.0.0.1:9090/ui/#/setup?secret=opensesame"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which control sockets were asked."""
    found: list[str] = []

    def fetch(path: Path) -> str:
        found.append(str(path))
        return URL

    def choose(tun: str, socket: str, *, serves_host: bool) -> Found:
        assert serves_host
        return Found(Path(socket or f"/run/{tun}"), ALIVE, 7)

    monkeypatch.setattr(client, "choose", choose)
    monkeypatch.setattr(client, "fetch_dashboard", fetch)
    return found


def test_address_is_printed_and_nothing_else(asked: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["ui"]) == 0
    assert run(["ui", "--tun", "tun0"]) == 0
    assert run(["ui", "--socket", "/x"]) == 0
    assert asked == ["/run", "/run/tun0", "/x"]
    assert tuple(capfd.readouterr()) == (f"{URL}\n" * 3, "")


def test_what_is_in_the_way_is_told(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fetch(path: Path) -> str:
        raise TunproxyError("there is no TCP port for browsers")

    monkeypatch.setattr(client, "fetch_dashboard", fetch)
    assert run(["ui"]) == 2
    assert tuple(capfd.readouterr()) == ("", "tunproxy: there is no TCP port for browsers\n")
    assert run(["ui", "--tun", "a", "--socket", "b"]) == 2
    assert asked == []
