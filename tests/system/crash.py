"""A desktop on which tunproxy is killed at a given moment of its life, and what its user would notice.

The desktop is the host of ``hostlab``; it has a firewall of its own. Several may be there at once.
"""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any  # as orders, JSON, have it

from tests.system import kill_at
from tests.system.hostlab import (
    HOST_IPV4,
    HOST_IPV6,
    UPLINK,
    WORLD_IPV4,
    WORLD_IPV6,
    HostLab,
    read_line,
)
from tests.system.nursery import Nursery, Run
from tests.system.sniffer import Sniffer
from tests.system.stopwatch import within

SUPERVISOR, WORKER, BOTH = "supervisor", "worker", "both"
TUN_ADDRESSES = ("10.231.77.1", "fd7a:7475:6e70::1")
WITHIN = 1.0 + 2.0  # seconds until a fetch works: what is promised, and what other tests on this machine take
HOLD = "--kill-switch"
NOBODY = {4: "203.0.113.7", 6: "2001:db8:200::7"}  # whom tunproxy never sends anything to
CONFIG = """default = "DIRECT"
rules = ["IP-CIDR,203.0.113.0/24,REJECT", "IP-CIDR6,2001:db8:200::/48,REJECT"]
"""
KNOCKED = 9999
ATTEMPT = 0.4  # seconds: a SYN that went into a dying device comes again only after one
FIREWALL = """table inet somebody {
 chain forward {
  type filter hook forward priority 0; policy accept;
  ip saddr 172.17.0.0/16 counter accept
 }
}
"""
# What is left of a killed one: rules of our own that skip our tables, or look into them while they are empty.
HARMLESS = re.compile(
    r"777\d:\t.*(goto 777\d|lookup 777\d|\bnop|lookup main suppress_prefixlength [14]) proto 119\s*"
)


class Desktop:
    """One host, its way to the world, and a program that kills there."""

    def __init__(self, nursery: Nursery, number: int, scratch: Path) -> None:
        self.tun = f"crash{number}"  # control sockets of all desktops are in one folder
        self.workers = str(1 + number % 2)
        self.lab = HostLab()
        self._nursery = nursery
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.lab.__exit__)
        self.lab.host.nft(FIREWALL)
        self.ports = [
            self._stack.enter_context(self.lab.greeter(self.lab.world, address))[0]
            for address in (WORLD_IPV4, WORLD_IPV6)
        ]
        self.config = scratch / f"{self.tun}.toml"
        self.config.write_text(CONFIG)
        with self.lab.host.entered():
            self.sniffer = self._stack.enter_context(contextlib.closing(Sniffer([self.tun])))
            self._killer = subprocess.Popen(
                [sys.executable, "-I", "-S", kill_at.__file__, self.tun],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        self._stack.callback(self._end_killer)

    def close(self) -> None:
        self._stack.close()

    def _end_killer(self) -> None:
        with self._killer:
            self._killer.kill()

    # tunproxy here

    def start(self, *options: str) -> Run:
        options = ("--tun", self.tun, "--config", str(self.config), "--workers", self.workers, *options)
        return self._nursery.start(self.lab.host, "up", *options)

    @contextlib.contextmanager
    def serving(self, *options: str) -> Iterator[Run]:
        """Run one that carries packets, to its end by force at the latest."""
        with contextlib.closing(self.start(*options)) as run:
            run.expect("worker uid")
            yield run

    def rescue(self) -> str:
        with contextlib.closing(self._nursery.start(self.lab.host, "rescue")) as run:
            assert run.wait() == 0, run.said()
            return run.said()

    # who kills

    def order(self, moment: str, nth: int, victims: str, pid: int | str) -> None:
        """Have the killer wait for a moment; returns when it does."""
        wanted = {"moment": moment, "nth": nth, "victims": victims, "pid": pid}
        self._say(json.dumps(wanted))
        assert self._hear() == {"is_watching": True}

    def tell_pid(self, run: Run) -> None:
        self._say(str(run.pid))

    def seen(self, *, interrupt: bool = False) -> dict[str, Any]:
        """Return the killer's answer once it has one."""
        if interrupt:
            self._say("enough")
        return self._hear()

    def _say(self, line: str) -> None:
        assert self._killer.stdin is not None
        self._killer.stdin.write(line + "\n")
        self._killer.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._killer.stdout is not None
        answer: dict[str, Any] = json.loads(read_line(self._killer.stdout, kill_at.PATIENCE + 5) or "{}")
        return answer

    # what holds

    def state(self) -> str:
        """Return all that may not change."""
        with self.lab.host.entered():
            firewall = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, timeout=30)
        return self.lab.configuration() + firewall.stdout

    def state_but_for_harmless_rules(self) -> str:
        return "\n".join(line for line in self.state().split("\n") if not HARMLESS.fullmatch(line))

    def programs(self) -> list[int]:
        """Return the process ids of what runs here, but for our own."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.lab.host.name], capture_output=True, text=True, timeout=30
        )
        return [int(word) for word in found.stdout.split() if int(word) != self._killer.pid]

    def fetch(self, *, through: bool = False) -> bool:
        """Tell whether a program reaches the world in both families; through: and through us."""
        for address, port, ours in zip((WORLD_IPV4, WORLD_IPV6), self.ports, TUN_ADDRESSES, strict=True):
            try:
                with self.lab.host.connect(address, port, timeout=ATTEMPT) as client:
                    if client.recv(100) != b"hello\n" or (client.getsockname()[0] != ours and through):
                        return False
            except OSError:
                return False
        return True

    def fetches(self, seconds: float = WITHIN, *, through: bool = False) -> bool:
        """Tell whether it does so within so many seconds of the machine's; one attempt alone may fail."""
        return within(lambda: self.fetch(through=through), seconds)

    def knock(self) -> None:
        """Send to nobody in many ways, also in those that the policy rules let through."""
        for family, address in NOBODY.items():
            af = socket.AF_INET if family == 4 else socket.AF_INET6
            own = {4: HOST_IPV4, 6: HOST_IPV6}[family]
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                for source, link in (("", ""), (own, ""), ("", UPLINK)):
                    with self.lab.host.make_socket(af, kind) as sock, contextlib.suppress(OSError):
                        sock.setblocking(False)
                        if link:
                            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
                        sock.bind((source, 0))
                        sock.connect((address, KNOCKED))
                        sock.send(b"knock")

    def count_moments(self) -> dict[str, int]:
        """Return how often each moment comes in a life without a crash, started over nobody's leftovers."""
        before = self.state()
        self.order("never", 1, BOTH, "new")
        with contextlib.closing(self.start()) as run:
            self.tell_pid(run)
            run.expect("worker uid")
            run.kill(signal.SIGTERM)
            assert run.wait() == 0, run.said()
            seen: dict[str, int] = self.seen(interrupt=True)["seen"]
        assert self.state() == before
        return seen
