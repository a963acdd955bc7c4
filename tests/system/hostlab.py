"""A host with a way to the world, for tests of ``tunproxy exec`` and ``tunproxy up`` themselves.

    +- host ----------------------+          +- world ----------------------------+
    |  192.0.2.1, 2001:db8::1  out|==========|in  192.0.2.254, 2001:db8::fe       |
    |  default routes: world      |          |    on lo: 198.51.100.1,            |
    |  127.0.0.1: services of its |          |           2001:db8:100::1          |
    |  own                        |          |                                    |
    +-----------------------------+          +------------------------------------+

The namespaces come from ``lab``; ``other_machine`` changes what else a machine can have different.
"""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from tests.system.lab import Namespace
from tests.system.peers import serve_clients

OTHER_MACHINE = Path(__file__).with_name("other_machine.py")
ORDINARY_UID = 47_110
TUNPROXY = (sys.executable, "-m", "tunproxy")
READY = 30.0  # seconds that a start, or a line of output, may take on a busy machine

UPLINK = "out"
HOST_IPV4, HOST_IPV6 = "192.0.2.1", "2001:db8::1"
ROUTER_IPV4, ROUTER_IPV6 = "192.0.2.254", "2001:db8::fe"
WORLD_IPV4, WORLD_IPV6 = "198.51.100.1", "2001:db8:100::1"


class HostLab:
    """The two namespaces, and the programs that run in the host's."""

    def __init__(self) -> None:
        self.world = Namespace("world")
        self.host = Namespace("host")
        self._running: list[subprocess.Popen[str]] = []
        self.host.ip("link", "add", UPLINK, "type", "veth", "peer", "name", "in", "netns", self.world.name)
        for address, prefix, peer in ((HOST_IPV4, 24, ROUTER_IPV4), (HOST_IPV6, 64, ROUTER_IPV6)):
            nodad = ["nodad"] if prefix == 64 else []
            self.host.ip("address", "add", f"{address}/{prefix}", "dev", UPLINK, *nodad)
            self.world.ip("address", "add", f"{peer}/{prefix}", "dev", "in", *nodad)
        for namespace, name in ((self.host, UPLINK), (self.world, "in")):
            namespace.ip("link", "set", name, "up")
        self.settle(UPLINK)
        assert eventually(lambda: "fe80::" in self.world.ip("-6", "address", "show", "scope", "link"))
        for service, router in ((WORLD_IPV4, ROUTER_IPV4), (WORLD_IPV6, ROUTER_IPV6)):
            self.world.ip("address", "add", service, "dev", "lo")
            self.host.ip("route", "add", "default", "via", router)

    def __enter__(self) -> "HostLab":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()
        for namespace in (self.host, self.world):
            namespace.delete()

    def stop_all(self) -> None:
        """End by force what was started."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._running.clear()

    def run(
        self,
        *argv: str,
        machine: dict[str, object] | None = None,
        stdin: str = "",
        timeout: float = 40,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program on the host to its end; env is added to the environment."""
        with self.host.entered():
            process = subprocess.Popen(
                on_machine(argv, machine),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=cwd,
                env={**os.environ, **(env or {})},
            )
        with process:
            try:
                out, err = process.communicate(stdin, timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err += f"\n(ended after {timeout} s)"
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def start(self, *argv: str, machine: dict[str, object] | None = None) -> "subprocess.Popen[str]":
        """Start a program on the host, which ends with the lab at the latest."""
        with self.host.entered():
            process = subprocess.Popen(
                on_machine(argv, machine),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True,
            )  # fmt: skip
        self._running.append(process)
        return process

    def start_up(self, *options: str, machine: dict[str, object] | None = None) -> "subprocess.Popen[str]":
        """Start ``tunproxy up`` and return once it serves; its start-up line is kept as .start_line."""
        process = self.start(*TUNPROXY, "up", *options, machine=machine)
        assert process.stderr is not None
        line = read_line(process.stderr)
        assert "worker uid" in line, f"tunproxy up does not serve: {line!r}"
        process.start_line = line  # type: ignore[attr-defined]
        return process

    def settle(self, *links: str) -> None:
        """Return once these links have what the kernel gives them when it notices that they are up.

        That is up to a second after they are; what came then would look like a change.
        """
        settled = re.compile(r"state (UP|UNKNOWN) .* fe80::", re.DOTALL)
        for link in links:
            assert eventually(lambda link=link: settled.search(self.host.ip("address", "show", link))), link

    def configuration(self) -> str:
        """Return all that may not change: links, addresses, routes of every table, rules, firewall."""
        shown = (("link",), ("address",), ("route", "show", "table", "all"), ("rule",))
        parts = [self.host.ip(family, "-o", *what) for family in ("-4", "-6") for what in shown]
        return re.sub(r"(?m)^(\d+: )?.*\b(cache|expires)\b.*\n", "", "\n".join(parts))

    def has_link(self, name: str) -> bool:
        return self.host.run("ip", "link", "show", name).returncode == 0

    def route_to(self, target: str, *how: str) -> str:
        """Return the name of the link that packets to target leave by; how is what ``ip route get`` takes."""
        shown = self.host.ip("route", "get", target, *how)
        found = re.search(r"\bdev (\S+)", shown)
        assert found, shown
        return found[1]

    @contextlib.contextmanager
    def greeter(self, namespace: Namespace, address: str, port: int = 0) -> Iterator[tuple[int, list[str]]]:
        """Serve TCP: say hello to each client and close. Yields the port, and the list of who came."""
        visitors: list[str] = []

        def greet(client: socket.socket, peer: str) -> None:
            with client:
                visitors.append(peer)
                client.sendall(b"hello\n")

        with serve_clients(namespace, address, greet, port) as found:
            yield found, visitors

    @contextlib.contextmanager
    def web_server(self, address: str, port: int) -> Iterator[None]:
        """Run nginx in the world; it says hello."""
        literal = f"[{address}]" if ":" in address else address
        with tempfile.TemporaryDirectory() as scratch:
            config = Path(scratch, "nginx.conf")
            config.write_text(
                f"daemon off; master_process off; error_log stderr; pid {scratch}/pid; events {{}}\n"
                f"http {{ access_log off; server {{ listen {literal}:{port};\n"
                "  location / { return 200 'hello from nginx\\n'; } } }\n"
            )
            server = self.world.spawn("nginx", "-c", str(config), log=Path(scratch, "log"))
            try:
                assert eventually(lambda: self._answers(address, port)), server.log.read_text()
                yield
            finally:
                server.stop()

    def _answers(self, address: str, port: int) -> bool:
        try:
            self.world.connect(address, port, timeout=1).close()
        except OSError:
            return False
        return True

    def hear(self, address: str, port: int, timeout: float = 20) -> str:
        """Return what a TCP server tells a client on the host."""
        with self.host.connect(address, port, timeout=timeout) as client:
            return client.recv(100).decode()


def host_for_tests() -> Iterator[HostLab]:
    """Yield the lab, for a fixture; without root the tests are skipped."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a host for the tests")
    with HostLab() as made:
        yield made


def on_machine(argv: Sequence[str], machine: dict[str, object] | None) -> list[str]:
    """Return the command that runs argv on a machine that differs from this one."""
    return list(argv) if machine is None else [sys.executable, str(OTHER_MACHINE), json.dumps(machine), *argv]


def hello_from(address: str, port: int, timeout: float = 10) -> tuple[str, ...]:
    """Return a command that prints what a TCP server says, or the error met."""
    program = (
        "import socket, sys\n"
        f"try: print(socket.create_connection(({address!r}, {port}), {timeout}).recv(100).decode().strip())\n"
        "except OSError as error: print(type(error).__name__)"
    )
    return (sys.executable, "-c", program)


def read_line(stream: IO[str], timeout: float = READY) -> str:
    """Return the next line of a program's output; empty when it closes it or says nothing in time.

    Octet by octet, past the stream's buffer: select does not see the lines that wait in there.
    """
    line = b""
    until = time.monotonic() + timeout
    while not line.endswith(b"\n") and select.select([stream], [], [], max(until - time.monotonic(), 0))[0]:
        octet = os.read(stream.fileno(), 1)
        if not octet:
            break
        line += octet
    return line.decode()


def eventually(condition: object, timeout: float = 30.0) -> bool:
    """Return whether a call returned true within timeout seconds, or when it was asked once more then."""
    assert callable(condition)
    until = time.monotonic() + timeout
    while True:
        is_over = time.monotonic() > until  # before it is asked: the machine may stand still meanwhile
        if condition():
            return True
        if is_over:
            return False
        time.sleep(0.02)


class Terminal:
    """An interactive shell on a terminal of its own, as a person has it."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.entered():
            self.pid, self._fd = pty.fork()
            if self.pid == 0:
                os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self._unread = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)  # hangs up: the shell tells its jobs and ends
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def press(self, key: str) -> None:
        """Press Ctrl and key."""
        self.type(chr(ord(key) & 0x1F))

    def bring_job_back(self) -> None:
        """Type fg, and return when the job has the terminal: a key pressed earlier would be the shell's."""
        shell = os.tcgetpgrp(self._fd)
        self.type("fg\n")
        assert eventually(lambda: os.tcgetpgrp(self._fd) != shell)

    def expect(self, pattern: str, timeout: float = READY) -> "re.Match[str]":
        """Return where the screen shows pattern; what was shown before it counts as read."""
        until = time.monotonic() + timeout
        while not (found := re.search(pattern, self._unread)):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise AssertionError(f"the terminal does not show {pattern!r} but {self._unread!r}")
            self._unread += os.read(self._fd, 1 << 16).decode(errors="replace")
        self._unread = self._unread[found.end() :]
        return found

    def value_of(self, expression: str) -> str:
        """Return what the shell that has the terminal makes of an expression such as ``$?``."""
        self.type(
            f"echo '=''='{expression}'=''='\n"
        )  # the echo of what is typed must not look like the answer
        return self.expect(r"==(.*?)==")[1]
