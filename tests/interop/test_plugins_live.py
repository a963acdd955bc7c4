"""Plugins through the whole of ``tunproxy up``: dropped in, saved anew, at fault, suspended.

The picture of the namespaces is in ``tests.system.hostlab``. The worker has given up its rights, and cannot
read the folder of plugins: who reads it is the supervisor.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.hostlab import TUNPROXY, WORLD_IPV4, HostLab, read_line
from tests.system.peers import serve_clients
from tunproxy.control.endpoint import ALIVE, look_at

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a host for the tests"),
]

OTHER_IPV4 = "198.51.100.2"  # the world as well, under an address that no plugin minds
SECONDS = 20.0
REJECTING = f"""
import socket
from tunproxy.plugin.api import REJECT, Verdict, hookimpl

@hookimpl
def decide_flow(info):
    if socket.inet_ntop(info.family, info.target) == {WORLD_IPV4!r}:
        return Verdict(REJECT, "picky", why="not that one")
"""
ALLOWING = """
from tunproxy.plugin.api import hookimpl

@hookimpl
def decide_flow(info):
    return None
"""
RAISING = """
from tunproxy.plugin.api import hookimpl

@hookimpl
def decide_flow(info):
    raise RuntimeError("out of order")
"""
ANSWERING = """
from tunproxy.plugin.api import Route, hookimpl

@hookimpl
def contribute_routes():
    async def hello(request):
        import colorsys  # loaded now, by a process that may not look where it is
        return {"hello": request.query.get("name"), "hue": colorsys.rgb_to_hsv(0, 1, 0)[0]}

    return [Route("GET", "/hello", hello)]
"""
SLEEPING = """
import time
from tunproxy.plugin.api import REJECT, Verdict, hookimpl

@hookimpl
def decide_flow(info):
    time.sleep(0.2)
    return Verdict(REJECT, "picky")
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    with HostLab() as made:
        made.world.ip("address", "add", OTHER_IPV4, "dev", "lo")
        yield made


class Running:
    """A running tunproxy, and the folder of its plugins, which nobody but root can look into."""

    def __init__(self, lab: HostLab, scratch: Path, tun: str, **plugins: str) -> None:
        self.lab = lab
        self.tun = tun
        self.folder = scratch / "plugins"
        self.folder.mkdir(mode=0o700)
        for name, source in plugins.items():
            self.save(name, source)
        self.config = scratch / "tunproxy.toml"
        self.config.write_text(f'[dns]\nmode = "off"\n[plugins]\nfolder = "{self.folder}"\n')
        self.process = lab.start(*TUNPROXY, "up", "--tun", tun, "--config", str(self.config))
        assert self.process.stderr is not None
        self.lines: list[str] = []
        first = read_line(self.process.stderr)
        assert "worker uid" in first, first
        served = Path(f"/run/tunproxy/{tun}.sock")
        assert eventually(lambda: look_at(served).state == ALIVE)  # a moment after the line
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # the stream is closed with the lab
            for line in self.process.stderr or ():
                self.lines.append(line)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def save(self, name: str, source: str) -> None:
        """Put a file in the place of the old one, as editors do."""
        new = self.folder / f".{name}.new"
        new.write_text(source)
        new.replace(self.folder / f"{name}.py")

    def status(self) -> dict[str, Any]:
        done = self.lab.run(*TUNPROXY, "status", "--tun", self.tun, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def plugins_list(self) -> str:
        done = self.lab.run(*TUNPROXY, "plugins", "list", "--tun", self.tun, "--config", str(self.config))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def says_hello(self, port: int, address: str = WORLD_IPV4) -> bool:
        """Tell whether the greeter in the world can be reached; refused is no, everything else is wrong."""
        try:
            with self.lab.host.connect(address, port, timeout=10) as sock:
                return sock.recv(100) == b"hello\n"
        except ConnectionRefusedError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.lab.stop_all()


@pytest.fixture
def start(lab: HostLab, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    found: list[Running] = []

    def make(tun: str, **plugins: str) -> Running:
        found.append(Running(lab, tmp_path, tun, **plugins))
        return found[-1]

    yield make
    for each in found:
        each.stop()


@contextlib.contextmanager
def trickle(lab: HostLab) -> Iterator[int]:
    """Serve TCP: to each client a dot now and then, without end; yield the port."""
    ended = threading.Event()

    def talk(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while not ended.wait(0.02):
                client.sendall(b".")

    def take(client: socket.socket, peer: str) -> None:
        threading.Thread(target=talk, args=(client,), daemon=True).start()

    with serve_clients(lab.world, OTHER_IPV4, take) as port:
        try:
            yield port
        finally:
            ended.set()


def goes_on(sock: socket.socket) -> bool:
    """Tell whether new octets come; those that have come already are thrown away."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while sock.recv(65_536):
            pass
    sock.settimeout(20)
    return set(sock.recv(100)) == {ord(".")}


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def test_saved_plugin_decides_new_flows_and_old_ones_go_on(
    lab: HostLab, start: Callable[..., Running]
) -> None:
    running = start("plug0", picky=REJECTING)
    with lab.greeter(lab.world, WORLD_IPV4) as (port, visitors), trickle(lab) as slow:
        with lab.host.connect(OTHER_IPV4, slow, timeout=10) as download:
            assert goes_on(download)
            assert not running.says_hello(port)
            assert visitors == []
            running.save("picky", ALLOWING)
            assert eventually(lambda: running.says_hello(port)), running.output
            assert goes_on(download)
            assert running.status()["policy"]["generation"] > 1, running.output
            # a version that is broken leaves the one that there is, and is told
            running.save("picky", "x = (")
            assert eventually(lambda: "picky" in running.status()["plugin_problems"]), running.output
            why = running.status()["plugin_problems"]["picky"]
            assert why.startswith("stays as it was: the new version cannot be imported")
            assert "picky.py:1:5" in why
            told = "plugin picky stays as it was: the new version cannot be imported"
            assert eventually(lambda: told in running.output), running.output
            assert running.says_hello(port)
            # gone, and there again
            running.save("picky", REJECTING)
            assert eventually(lambda: not running.says_hello(port)), running.output
            (running.folder / "picky.py").unlink()
            assert eventually(lambda: running.says_hello(port)), running.output
            running.save("second", REJECTING)
            assert eventually(lambda: not running.says_hello(port)), running.output
            assert goes_on(download)
        assert running.status()["plugin_problems"] == {}


@pytest.mark.parametrize(
    ("source", "fault"),
    [(RAISING, "RuntimeError: out of order"), (SLEEPING, "50 are the limit")],
    ids=["raises", "sleeps"],
)
def test_plugin_that_fails_again_and_again_is_suspended_and_the_rules_decide(
    lab: HostLab, start: Callable[..., Running], source: str, fault: str
) -> None:
    running = start("plug1", faulty=source)
    with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
        for _ in range(7):
            assert running.says_hello(port), running.output
        status = running.status()
        assert status["plugin_faults"] == {"faulty": 5}
        suspended = status["plugins_suspended"]["faulty"]
        assert fault in suspended["last_fault"]
        assert 0 < suspended["seconds"] <= 30
        assert any("plugin faulty failed 5 times and is not asked" in each for each in status["problems"])
        listed = running.plugins_list()
        assert f"loaded, but plug1 (process {running.process.pid}): is not asked for " in listed
        assert fault in listed
        took = []
        while len(took) < 10 and min(took, default=1.0) >= 0.15:  # a machine that stands still holds up some
            started = time.monotonic()
            assert running.says_hello(port)
            took.append(time.monotonic() - started)
        assert min(took) < 0.15, "nobody waits for a plugin that is suspended"
        # a new version is asked at once
        running.save("faulty", REJECTING)
        assert eventually(lambda: not running.says_hello(port)), running.output
        assert running.status()["plugins_suspended"] == {}


def test_routes_that_a_saved_plugin_brings_are_served(start: Callable[..., Running]) -> None:
    """The worker loads what serves them only now, from where it may not look by then on many machines."""
    running = start("plug2", answering=ALLOWING)
    asked = ("curl", "-sS", "--max-time", "20", "--unix-socket", f"/run/tunproxy/{running.tun}.sock")

    def answer() -> str:
        return running.lab.run(*asked, "http://localhost/plugins/answering/hello?name=joe").stdout

    assert "error" in answer()
    running.save("answering", ANSWERING)
    assert eventually(lambda: running.status()["policy"]["generation"] == 2), running.output
    assert json.loads(answer()) == {"hello": "joe", "hue": 1 / 3}, running.output
