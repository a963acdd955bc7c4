"""``tunproxy top`` at a terminal, with real flows of a real ``tunproxy up``.

The picture of the namespaces is in ``hostlab``.
"""

import contextlib
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("textual", reason="textual is not installed (the extra top)")
pytest.importorskip("pexpect", reason="pexpect is not installed")
pytest.importorskip("pyte", reason="pyte is not installed")

from tests.system.hostlab import TUNPROXY, WORLD_IPV4, HostLab, eventually, host_for_tests
from tests.system.peers import serve_clients
from tests.system.screen import Screen
from tunproxy.control.endpoint import ALIVE, look_at

pytestmark = pytest.mark.timeout(110)

TUN = "top0"
SOCKET = Path(f"/run/tunproxy/{TUN}.sock")
TOP = (*TUNPROXY, "top", "--socket", str(SOCKET), "-d", "0.5")
PLAIN = {"NO_COLOR": "1"}
LEAVES_SCREEN = b"\x1b[?1049l"  # xterm: back to what was there before

lab = pytest.fixture(scope="module", name="lab")(host_for_tests)


@contextlib.contextmanager
def fountain(lab: HostLab) -> Iterator[int]:
    """Serve TCP in the world; who comes is sent octets, a few kilobytes at a time. Yields the port."""
    dry = threading.Event()

    def pour(client: socket.socket, peer: str) -> None:
        with client, contextlib.suppress(OSError):
            while not dry.wait(0.05):
                client.sendall(bytes(4000))

    with serve_clients(lab.world, WORLD_IPV4, pour) as port:
        try:
            yield port
        finally:
            dry.set()


def drink(client: socket.socket) -> threading.Thread:
    """Read from client as long as it lives."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while client.recv(1 << 16):
                pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def is_served() -> bool:
    return look_at(SOCKET).state == ALIVE


def test_flows_are_watched_explained_and_closed(lab: HostLab) -> None:
    """One way through all of it, without colour: a flow is seen, found, explained and closed; tunproxy ends,
    and comes back."""
    up = lab.start_up("--tun", TUN)
    with (
        fountain(lab) as port,
        lab.host.connect(WORLD_IPV4, port) as busy,
        lab.host.connect(WORLD_IPV4, port, timeout=20) as other,
        Screen(lab.host, *TOP, env=PLAIN) as screen,
    ):
        target = f"tcp {WORLD_IPV4}:{port}"
        reader = drink(busy)
        screen.until(lambda text: text.count(target) == 2 and re.search(r"down +[\d.]+ kB/s", text))
        shown = screen.shows("? Help")  # the last line is drawn last
        assert shown.startswith(f"tunproxy {TUN}  2 flows open")
        assert "[1 flows]  2 processes   3 rules   4 upstreams" in shown
        assert all(f" {key}" in f" {screen.lines[-1]}" for key in ("q Quit", "/ Filter", "x Close"))
        own = f"{busy.getsockname()[1]}"

        screen.type(f"/client-port:{own}\r")
        screen.until(lambda text: text.count(target) == 1)
        screen.type("e")
        why = screen.shows(f"tcp to {WORLD_IPV4}:{port} goes through direct")
        assert "by default" in why or "because" in why
        screen.type("\x1b")
        screen.until(lambda text: "goes through" not in text)

        screen.resize(60, 15)
        narrow = screen.until(lambda text: target in text and "q Quit" in text.splitlines()[-1])
        assert len(narrow.splitlines()) == 15
        screen.resize(120, 30)
        screen.until(lambda text: "rule" in text.splitlines()[3])

        screen.type("x")
        screen.shows("[y] yes")
        screen.type("y")
        reader.join(20)
        assert not reader.is_alive()  # it was reset
        screen.until(lambda text: "cut: clo" in text)
        assert other.recv(1)  # and nobody else was

        screen.type("\x1b")
        screen.until(lambda text: "filter:" not in text)
        screen.type("2")
        screen.until(lambda text: "[2 processes]" in text and re.search(r"(?m)^\S*python", text))
        up.send_signal(signal.SIGTERM)
        assert up.wait(20) == 0
        screen.shows("tunproxy has stopped; looking for it again")
        lab.start_up("--tun", TUN)
        with lab.host.connect(WORLD_IPV4, port):
            screen.until(lambda text: text.startswith(f"tunproxy {TUN}  1 flow open"))
        assert screen.colours == {"default"}
        screen.type("q")
        assert screen.end() == 0
        assert LEAVES_SCREEN in screen.raw
        assert b"Traceback" not in screen.raw


def test_table_is_printed_without_a_terminal(lab: HostLab) -> None:
    if not is_served():
        lab.start_up("--tun", TUN)
    with fountain(lab) as port, lab.host.connect(WORLD_IPV4, port) as busy:
        drink(busy)
        shown: list[str] = []

        def flows_now() -> bool:
            """Tell whether the row has a rate: none has come where the machine stood still meanwhile."""
            done = lab.run(*TOP, "--by", "upstream")
            assert (done.returncode, done.stderr) == (0, "")
            shown[:] = done.stdout.splitlines()
            return re.fullmatch(r"direct +1 +\d+ +[\d.]+ kB/s +\S+ .*", shown[1]) is not None

        assert eventually(flows_now, 20), shown
        titles, _, last = shown
        assert titles.split() == ["upstream", "open", "over", "down/s", "up/s", "down", "up"]
        assert last.startswith("1 open, ")


def test_terminated_program_leaves_the_terminal_as_it_was(lab: HostLab) -> None:
    if not is_served():
        lab.start_up("--tun", TUN)
    with Screen(lab.host, *TOP) as screen:
        screen.shows("q Quit")
        assert screen.colours != {"default"}
        assert eventually(lambda: screen.program.isalive())
        screen.program.kill(signal.SIGTERM)
        assert screen.end() == 0
        assert LEAVES_SCREEN in screen.raw
