"""A network namespace of the lab, the sockets and programs in it.

The thread that enters a namespace leaves it again: what it made there belongs to the namespace, while the
code that uses it is ordinary Python in the test's own process.
"""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

CLONE_NEWNET = 0x40000000
PREFIX = "tunlab"
SETTINGS = {
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv4/tcp_syn_retries": "1",  # an attempt at a silent host ends in 3 s, not in two minutes
    "net/ipv4/tcp_no_metrics_save": "1",
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv4/ipfrag_high_thresh": str(64 << 20),  # room for other fragments beside thousands unfinished
    "net/ipv6/ip6frag_high_thresh": str(64 << 20),
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of a numeric address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def command(*argv: str, stdin: str | None = None) -> str:
    """Run a command that configures something; return its output, raise RuntimeError with its complaint."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Program:
    """A program that runs beside the test, its output in a file."""

    def __init__(self, argv: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
            )

    def stop(self) -> None:
        """End the program and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


class Namespace:
    """A network namespace with its loopback up; sockets and programs are made inside it."""

    def __init__(self, role: str) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{role}"
        command("ip", "netns", "add", self.name)
        self._fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        self.ip("link", "set", "lo", "up")
        for key, value in SETTINGS.items():
            self.sysctl(key, value)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into the namespace; what it starts meanwhile starts there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self._fd)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(home)

    def ip(self, *arguments: str) -> str:
        return command("ip", "-n", self.name, *arguments)

    def sysctl(self, key: str, value: str) -> None:
        """Set what differs per namespace; a key that this kernel lacks is left alone."""
        with self.entered():
            path = Path("/proc/sys", key)
            if path.exists():
                path.write_text(value)

    @contextlib.contextmanager
    def changed(self, key: str, value: str) -> Iterator[None]:
        """Change one of the namespace's settings meanwhile."""
        with self.entered():
            before = Path("/proc/sys", key).read_text().strip()
        self.sysctl(key, value)
        try:
            yield
        finally:
            self.sysctl(key, before)

    def nft(self, ruleset: str) -> None:
        with self.entered():
            command("nft", "-f", "-", stdin=ruleset)

    def offloads(self, device: str, state: str) -> None:
        """Switch segmentation and receive offloads, so that a packet on the link is one of the link's MTU."""
        with self.entered():
            for feature in ("tso", "gso", "gro", "tx-udp-segmentation"):
                subprocess.run(["ethtool", "-K", device, feature, state], capture_output=True, timeout=30)

    def run(self, *argv: str, timeout: float = 60, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end; its exit code is the caller's business."""
        with self.entered():
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                **options,
            )  # type: ignore[call-overload]
        with process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err += f"\n(ended after {timeout} s)"
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def spawn(self, *argv: str, log: Path, env: dict[str, str] | None = None) -> Program:
        with self.entered():
            return Program(argv, log, env)

    def listens(self, address: str, port: int) -> bool:
        """Tell whether a TCP socket listens at an address, or at all of them."""
        mine = f"[{address}]" if ":" in address else address
        found = command("ip", "netns", "exec", self.name, "ss", "-Hltn", f"sport = :{port}").splitlines()
        local = {line.split()[3].rpartition(":")[0] for line in found}
        return not local.isdisjoint({mine, "*", "0.0.0.0" if mine == address else "[::]"})

    def make_socket(
        self, af: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0, timeout: float = 20
    ) -> socket.socket:
        """Make a socket here. It has a timeout, so that no test waits for ever."""
        with self.entered():
            made = socket.socket(af, kind, proto)
        made.settimeout(timeout)
        return made

    def connect(self, address: str, port: int, timeout: float = 20) -> socket.socket:
        made = self.make_socket(family_of(address), timeout=timeout)
        try:
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def connect_to(self, listener: socket.socket, timeout: float = 20) -> socket.socket:
        host, port = listener.getsockname()[:2]
        return self.connect(host, port, timeout)

    def listen(self, address: str, port: int = 0, backlog: int = 4096) -> socket.socket:
        made = self.make_socket(family_of(address))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(backlog)
        return made

    def datagram(self, address: str, port: int = 0) -> socket.socket:
        """Make a UDP socket bound to address; its buffers hold as much as the system allows."""
        made = self.make_socket(family_of(address), socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        made.bind((address, port))
        return made

    def delete(self) -> None:
        os.close(self._fd)
        _delete_namespace(self.name)


def delete_leftovers() -> None:
    """Remove the namespaces of test runs that were killed before they could."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*"):
        match = re.fullmatch(rf"{PREFIX}-(\d+)-.*", path.name)
        if match and not Path("/proc", match[1]).exists():
            _delete_namespace(path.name)


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


def _delete_namespace(name: str) -> None:
    """Kill whoever still runs in a namespace that the lab made, and remove it."""
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, timeout=30).stdout
    for pid in pids.split():
        if int(pid) != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=30)
