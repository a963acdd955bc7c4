"""Generations in a network namespace: a change that breaks is taken back, flows go on; undo, diff, confirm.

The picture of the namespaces is in ``hostlab``.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.hostlab import TUNPROXY, WORLD_IPV4, HostLab, eventually, host_for_tests
from tests.system.peers import tcp_echo
from tunproxy.control.client import (
    ask_confirm,
    ask_reload,
    ask_undo,
    choose,
    fetch_diff,
    fetch_generations,
    fetch_status,
)
from tunproxy.control.endpoint import ALIVE, look_at
from tunproxy.control.generations.desk import Offline, folders_kept
from tunproxy.control.generations.store import Store
from tunproxy.errors import TunproxyError

pytestmark = pytest.mark.timeout(90)

TUN = f"gn{os.getpid() % 100_000}"
Process = subprocess.Popen[str]

module_lab = pytest.fixture(scope="module", name="module_lab")(host_for_tests)


class Desk:
    """One ``tunproxy up`` for all tests of this file, its configuration, and a server in the world."""

    def __init__(self, lab: HostLab, folder: Path, port: int) -> None:
        self.lab = lab
        self.config = folder / "tunproxy.toml"
        self.rules = folder / "home.rules"
        self.port = port
        self.good = self.text('user = "me"\npassword = "hunter22"')
        self.save(self.good)
        self.rules.write_text("DOMAIN,a.example,REJECT\n")
        self.process = lab.start_up("--tun", TUN, "--config", str(self.config))
        socket_path = Path(f"/run/tunproxy/{TUN}.sock")
        assert eventually(lambda: look_at(socket_path).state == ALIVE, 20)  # a moment after the start-up line

    def text(self, more: str = "") -> str:
        check = f'[apply]\ncheck = ["{WORLD_IPV4}:{self.port}"]\ncheck-seconds = 6\n'
        upstream = f'[upstreams.work]\ntype = "socks5"\nserver = "192.0.2.7"\nport = 1\n{more}\n'
        return f'rules-file = "home.rules"\n{check}{upstream}'

    def save(self, text: str, path: Path | None = None) -> None:
        """Save as editors do, the configuration unless told another file."""
        path = path or self.config
        other = path.with_name("new")
        other.write_text(text)
        other.replace(path)

    def ours(self) -> Path:
        return choose(TUN).path

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = fetch_generations(self.ours())["generations"]
        return found

    def running(self) -> int:
        return int(fetch_generations(self.ours())["running"])

    def status(self) -> dict[str, Any]:
        return fetch_status(self.ours())

    def worker(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(children.split()[0])


@pytest.fixture(scope="module")
def desk(module_lab: HostLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with tcp_echo(module_lab.world, WORLD_IPV4) as port:
        found = Desk(module_lab, tmp_path_factory.mktemp("config"), port)
        assert eventually(lambda: found.running() == 1)
        yield found
        found.process.terminate()
        found.process.wait(20)


@pytest.fixture
def flow(desk: Desk) -> Iterator[socket.socket]:
    """A connection that is to outlive everything but the worker."""
    with desk.lab.host.connect(WORLD_IPV4, desk.port) as client:
        client.settimeout(20)
        assert says(client)
        yield client
        assert says(client), "the flow has been cut"


def says(client: socket.socket) -> bool:
    client.sendall(b"word")
    return client.recv(100) == b"word"


def test_change_that_breaks_is_taken_back_and_undo_puts_the_files_back(
    desk: Desk, flow: socket.socket
) -> None:
    breaking = "MATCH,REJECT\n"
    desk.save(breaking, desk.rules)  # which tunproxy notices by itself
    assert eventually(lambda: "taken back" in str(desk.status()["policy"].get("error")), 30)
    error = str(desk.status()["policy"]["error"])
    assert error.startswith("generation 2 was taken back, and 1 is in force again: check ")
    assert "worked before and fails now: connection refused" in error
    assert desk.running() == 1
    assert desk.rules.read_text() == breaking, "the file is its author's"
    with desk.lab.host.connect(WORLD_IPV4, desk.port) as client:  # not refused
        client.settimeout(20)
        assert says(client)
    assert [each["state"] for each in desk.listed()] == ["healthy", "failed"]
    done = ask_undo(desk.ours(), 0, keep_files=False)
    assert (done["restores"], done["is_new"], done["kept_as"]) == (1, False, 2)
    assert done["written"] == [str(desk.rules)]
    assert desk.rules.read_text() == "DOMAIN,a.example,REJECT\n"
    assert not desk.status()["policy"].get("error")


def test_diff_shows_what_is_saved_and_no_password(desk: Desk) -> None:
    path = desk.ours()
    before = desk.running()
    desk.save(desk.text('user = "you"\npassword = "tiger-42"'))
    assert eventually(lambda: desk.running() > before, 30)
    ran = desk.lab.run(*TUNPROXY, "diff", "--tun", TUN, str(before))
    assert ran.returncode == 1
    assert '\n+user = "you"\n' in ran.stdout
    assert "\n-password = ***\n" in ran.stdout
    assert "hunter22" not in ran.stdout
    assert "tiger" not in ran.stdout
    shown = fetch_diff(path, str(before), "running", with_secrets=True)["lines"]
    assert '-password = "hunter22"' in shown
    assert fetch_diff(path, "", "", with_secrets=False)["lines"] == []
    last = desk.listed()[-1]
    assert (last["by"], last["change"], last["is_running"]) == ("save", "tunproxy.toml +2 -2", True)


def test_undo_goes_back_and_what_the_files_held_is_kept(desk: Desk, flow: socket.socket) -> None:
    newer = desk.config.read_text()
    assert "tiger-42" in newer
    number = desk.running()
    ran = desk.lab.run(*TUNPROXY, "undo", "--tun", TUN)
    assert ran.returncode == 0, ran.stderr
    assert f"put back: {desk.config}" in ran.stdout
    assert f"tunproxy undo {number} brings it back" in ran.stdout
    assert desk.config.read_text() == desk.good
    ask_undo(desk.ours(), number, keep_files=False)
    assert desk.config.read_text() == newer
    ask_undo(desk.ours(), 1, keep_files=True)
    assert desk.config.read_text() == newer, "the files stay"
    assert any("not what the files say" in each for each in desk.status()["problems"])
    ask_undo(desk.ours(), 0, keep_files=False)
    assert desk.config.read_text() == desk.good


def test_reload_that_nobody_confirms_is_taken_back(desk: Desk, flow: socket.socket) -> None:
    path = desk.ours()
    ask_undo(path, 1, keep_files=False)
    other = next(each["number"] for each in desk.listed() if "tunproxy.toml +2 -2" in each["change"])
    now = ask_undo(path, other, keep_files=True)["generation"]
    ask_reload(path, 5)
    assert desk.running() != now
    assert any("tunproxy confirm lets it stay" in each for each in desk.status()["problems"])
    assert eventually(lambda: desk.running() == now, 30)
    assert "nobody has confirmed it within 5 s" in str(desk.status()["policy"]["error"])
    ask_reload(path, 60)
    stays = desk.running()
    assert ask_confirm(path)["generation"] == stays
    with pytest.raises(TunproxyError, match="nothing to confirm"):
        ask_confirm(path)


def test_worker_that_dies_right_after_a_change_has_it_taken_back(desk: Desk) -> None:
    before = desk.running()
    desk.save("DOMAIN,c.example,REJECT\n", desk.rules)
    assert eventually(lambda: desk.running() > before, 30)
    os.kill(desk.worker(), signal.SIGSEGV)
    assert eventually(lambda: desk.running() == before, 30)
    assert eventually(lambda: "a worker died" in str(desk.status()["policy"].get("error")), 30)
    with desk.lab.host.connect(WORLD_IPV4, desk.port) as client:
        client.settimeout(20)
        assert says(client)
    assert desk.status()["policy"]["rules"] == 1


def test_what_was_kept_helps_when_nothing_runs(desk: Desk) -> None:
    desk.process.send_signal(signal.SIGTERM)
    assert desk.process.wait(20) == 0
    desk.config.write_text("[broken\n")
    kept = Offline(Store(folders_kept(TUN)[0]))
    last = kept.generations()["generations"][-1]["number"]
    assert "+[broken" in kept.diff("", "", with_secrets=False)["lines"]
    assert kept.undo(0)["kept_as"] == last + 1
    assert 'rules-file = "home.rules"' in desk.config.read_text()
