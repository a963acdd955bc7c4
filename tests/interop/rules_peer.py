"""mihomo as the judge of rules: which target does it choose for a flow.

It runs in a namespace in which every address is local, so that a flow comes from wherever it likes. Each list
of rules is a sub-rule list of one configuration, with an inbound of its own that is told to use it. All
targets refuse, so nothing is dialled; what was chosen is in the log:

    [TCP] 10.1.2.3:4000(curl, uid=0) --> www.a.com:443 match DomainSuffix(a.com) using P1
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.system.namespace import Namespace
from tests.unit.rulesets.programs import MIHOMO

FIRST_PORT = 20000  # of the inbound of list 0
SINK_PORT = 19999
DNS_PORT = 19998
TARGETS = tuple(f"P{number}" for number in range(12))
TCP_ONLY = ("T0", "T1")  # targets that carry no UDP
USERS = ("alice", "bob")
READY = 20.0  # seconds for mihomo to start
TRIES = 4  # a datagram may get lost, and mihomo does not find every process
ANSWER = re.compile(
    r'msg="\[(?:TCP|UDP)\] (?:dial (?P<failed>\S+) (?:\(match .*\) )?)?'
    r"(?P<source>\S+:\d+)(?:\((?P<process>.*?)\))? --> "
    r".*? (?:using (?P<target>\S+)|error: .*)\"$"
)


@dataclass(frozen=True)
class Sent:
    """A flow and by which way it is sent: socks5, socks4, http, https (CONNECT) or udp (by SOCKS 5)."""

    listing: int  # which list of rules it is for
    via: str
    source: str
    source_port: int
    host: str  # "" where address is given
    address: str
    port: int
    user: str
    sender: int

    @property
    def listener(self) -> int:
        return FIRST_PORT + self.listing

    @property
    def key(self) -> str:
        return (
            f"[{self.source}]:{self.source_port}"
            if ":" in self.source
            else f"{self.source}:{self.source_port}"
        )


@dataclass(frozen=True)
class Sender:
    """A program that flows come from."""

    name: str
    uid: int


SENDERS = (Sender("Browser-One", 1000), Sender("curl", 1001), Sender("sync.service", 1005))


class NameServer:
    """Answers A and AAAA for the names it has, and "no such name" for all others."""

    def __init__(self, endpoint: socket.socket, addresses: dict[str, tuple[str, ...]]) -> None:
        self.endpoint = endpoint
        self.addresses = addresses
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        self.endpoint.settimeout(None)
        while True:
            try:
                query, sender = self.endpoint.recvfrom(2048)
            except OSError:
                return
            if not query:
                return
            self.endpoint.sendto(self.answer(query), sender)

    def answer(self, query: bytes) -> bytes:
        """Return the message that answers a query (RFC 1035 §4.1)."""
        labels = []
        at = 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12 : at + 5]
        six = query[at + 1 : at + 3] == b"\0\x1c"
        known = self.addresses.get(".".join(labels).lower())
        records = b""
        count = 0
        for address in known or ():
            if six == (":" in address):
                packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
                records += b"\xc0\x0c" + question[-4:] + (600).to_bytes(4, "big")
                records += len(packed).to_bytes(2, "big") + packed
                count += 1
        code = b"\x81\x80" if known else b"\x81\x83"
        return query[:2] + code + b"\0\1" + count.to_bytes(2, "big") + bytes(4) + question + records

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.endpoint.shutdown(socket.SHUT_RDWR)
        self.thread.join(2)
        self.endpoint.close()


class Mihomo:
    """A running mihomo with a namespace of its own; ``folder`` is its home and has what it reads."""

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        assert MIHOMO
        self.folder = folder
        self.namespace = Namespace("mihomo")
        self.namespace.ip("route", "add", "local", "0.0.0.0/0", "dev", "lo")
        self.namespace.ip("-6", "route", "add", "local", "::/0", "dev", "lo")
        self.namespace.sysctl("net/ipv4/ip_unprivileged_port_start", "0")
        self.namespace.sysctl("net/ipv4/ip_local_port_range", "61000 65000")  # no flow comes from there
        self.log = folder / "log"
        self.read = 0  # octets of it that are of earlier flows
        self.api = folder / "api"
        path = folder / "config.yaml"
        path.write_text(json.dumps({**base_settings(), "external-controller-unix": "api", **settings}))
        self.program = self.namespace.spawn(MIHOMO, "-d", str(folder), "-f", str(path), log=self.log)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Mihomo":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.program.stop()
        self.namespace.delete()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def _wait(self) -> None:
        until = time.monotonic() + READY
        while "initial compatible provider" not in self.text():
            if self.program.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"mihomo does not start: {self.text()[-3000:]}")
            time.sleep(0.02)

    def load(self, settings: dict[str, object]) -> str:
        """Replace the configuration; return "" or why mihomo refuses it."""
        connection = UnixConnection(self.api)
        body = json.dumps(
            {"payload": json.dumps({**base_settings(), "external-controller-unix": "api", **settings})}
        )
        connection.request("PUT", "/configs?force=true", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read().decode()
        connection.close()
        return "" if answer.status == 204 else str(json.loads(told)["message"])

    def answers(self, wanted: dict[str, Sent]) -> dict[str, str]:
        """Return the targets told since ``ask``, by the source of the flow, where the process was found."""
        found: dict[str, str] = {}
        for line in self.log.read_bytes()[self.read :].decode(errors="replace").splitlines():
            parts = ANSWER.search(line)
            if parts and parts["source"] in wanted and parts["source"] not in found:
                sender = SENDERS[wanted[parts["source"]].sender]
                if parts["process"] == f"{sender.name}, uid={sender.uid}":
                    found[parts["source"]] = parts["target"] or parts["failed"]
        return found

    def ask(self, flows: Sequence[Sent]) -> dict[str, str]:
        """Send flows, whose sources all differ; return the target of each by its key."""
        wanted = {flow.key: flow for flow in flows}
        assert len(wanted) == len(flows)
        self.read = self.log.stat().st_size
        missing = list(flows)
        with self._senders() as senders:
            for _ in range(TRIES):
                for process, number in zip(senders, range(len(SENDERS)), strict=True):
                    threading.Thread(
                        target=_send, args=(process, [f for f in missing if f.sender == number])
                    ).start()
                for process in senders:
                    assert process.stdout
                    assert process.stdout.readline() == "done\n"
                until = time.monotonic() + 2
                while missing and time.monotonic() < until:
                    found = self.answers(wanted)
                    missing = [flow for flow in missing if flow.key not in found]
                    time.sleep(0.05)
                if not missing:
                    break
        return self.answers(wanted)

    @contextlib.contextmanager
    def _senders(self) -> Iterator[list["subprocess.Popen[str]"]]:
        """Run the senders, each a copy of the interpreter under a name of its own."""
        script = str(Path(__file__).with_name("rules_sender.py"))
        env = {"PYTHONHOME": sys.base_prefix, "PATH": os.environ["PATH"]}
        running = []
        try:
            for sender in SENDERS:
                program = sender_path(self.folder, sender)
                if not program.exists():
                    shutil.copy(os.path.realpath(sys.executable), program)
                with self.namespace.entered():
                    process = subprocess.Popen(
                        [str(program), "-S", script],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                        env=env,
                    )
                running.append(process)
                assert process.stdin
                process.stdin.write(f"{sender.uid}\n")
            yield running
        finally:
            for process in running:
                process.kill()
                process.communicate()


def _send(process: "subprocess.Popen[str]", flows: Sequence[Sent]) -> None:
    assert process.stdin
    for flow in flows:
        process.stdin.write(json.dumps({**asdict(flow), "listener": flow.listener}) + "\n")
    process.stdin.write("\n")
    process.stdin.flush()


def sender_path(folder: Path, sender: Sender) -> Path:
    return folder / sender.name


def base_settings() -> dict[str, object]:
    """Return what every configuration has: targets, and nothing that asks the network."""
    refusing = [{"name": name, "type": "reject"} for name in (*TARGETS, "SINK")]
    tcp_only = [
        {"name": name, "type": "socks5", "server": "127.0.0.1", "port": SINK_PORT, "udp": False}
        for name in TCP_ONLY
    ]
    return {
        "mode": "rule",
        "log-level": "info",
        "ipv6": True,
        "geo-auto-update": False,
        "geodata-mode": True,
        "find-process-mode": "always",  # so that the log tells where it was not found
        "profile": {"store-selected": False, "store-fake-ip": False},
        "dns": {
            "enable": True,
            "ipv6": True,
            "ipv6-timeout": 5000,  # for an answer of its own, after that for IPv4
            "enhanced-mode": "normal",
            "use-hosts": False,
            "use-system-hosts": False,
            "default-nameserver": ["127.0.0.1"],
            "nameserver": [f"127.0.0.1:{DNS_PORT}"],
        },
        "proxies": [*refusing, *tcp_only],
        "rules": ["MATCH,SINK"],
    }


def listeners(count: int, closed: Sequence[int] = ()) -> list[dict[str, object]]:
    """Return an inbound for each of count lists; those of ``closed`` want a user."""
    made: list[dict[str, object]] = [
        {
            "name": "sink",
            "type": "socks",
            "listen": "127.0.0.1",
            "port": SINK_PORT,
            "rule": "sink",
            "users": [],
        }
    ]
    for number in range(count):
        users = [{"username": user, "password": "p"} for user in USERS] if number in closed else []
        made.append(
            {
                "name": inbound_name(number),
                "type": "mixed",
                "listen": "::",
                "port": FIRST_PORT + number,
                "udp": True,
                "rule": list_name(number),
                "users": users,
            }
        )
    return made


def inbound_name(number: int) -> str:
    return f"In-{number}"


def list_name(number: int) -> str:
    return f"list{number}"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))
