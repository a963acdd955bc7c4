"""A host with a running tunproxy and something to show, for tests of the dashboard.

    +- host ------------------------------+      +- world -------------------------------------------+
    |  Chromium -> 127.0.0.1:9090 (the    |======|  web server at 198.51.100.1, port 80               |
    |  API of tunproxy); programs -> tun  |      |  SOCKS servers paris and lisbon at ports 1081, 1082; |
    +-------------------------------------+      |  they go on from 203.0.113.11 and .12                |
                                                 +----------------------------------------------------+

The web server has an address for each of some names, which tunproxy tells who asks for them. It answers
whatever it is asked, and knows by which way each client has come.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query

from tests.system.hostlab import HOST_IPV4, TUNPROXY, WORLD_IPV4, HostLab, eventually
from tests.system.namespace import Program

TUN = "home0"
PORT = 9090
PLACE = f"127.0.0.1:{PORT}"
URL = f"http://{PLACE}"
WAYS = {HOST_IPV4: "DIRECT", "203.0.113.11": "paris", "203.0.113.12": "lisbon"}
SOCKS_PORTS = {"paris": 1081, "lisbon": 1082}
RESOLVER = "198.51.100.53"  # there is none: tunproxy answers
NAMES = (
    "www.example.org",
    "cdn.example.org",
    "mirror.example.org",
    "late.example.org",
    "video.example",
    "news.example",
    "mail.example",
    "www.ads.example",
)
ADDRESSES = {name: f"203.0.113.{100 + number}" for number, name in enumerate(NAMES)}
TEST_URL = f"http://{WORLD_IPV4}/generate_204"
CONFIG = f"""
default = "DIRECT"
rules = [
  "DOMAIN-SUFFIX,ads.example,REJECT",
  "DOMAIN-SUFFIX,example.org,Proxy",
  "DOMAIN-KEYWORD,video,Fastest",
  "DST-PORT,22,DIRECT",
]
[dns]
servers = ["{RESOLVER}"]
hosts = {{ {", ".join(f'"{name}" = "{address}"' for name, address in ADDRESSES.items())} }}
[api]
listen = "{PLACE}"
[upstreams.paris]
type = "socks5"
server = "{WORLD_IPV4}"
port = {SOCKS_PORTS["paris"]}
[upstreams.lisbon]
type = "socks5"
server = "{WORLD_IPV4}"
port = {SOCKS_PORTS["lisbon"]}
[groups.Proxy]
type = "select"
members = ["paris", "lisbon", "Fastest", "DIRECT"]
[groups.Fastest]
type = "url-test"
members = ["paris", "lisbon"]
url = "{TEST_URL}"
"""
ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"
PIECE = bytes(4096)
TICK = 0.1  # seconds between two pieces


class DashboardLab(HostLab):
    """The namespaces, and a running tunproxy; folder is for its configuration, and for what it keeps."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._scratch = folder
        self._programs: list[Program] = []
        self.config = folder / "tunproxy.toml"
        for address in ADDRESSES.values():
            self.world.ip("address", "add", f"{address}/32", "dev", "lo")
        self.web = _Web(self)
        for address, way in WAYS.items():
            if way in SOCKS_PORTS:
                self.world.ip("address", "add", f"{address}/32", "dev", "lo")
                self._start_socks(way, address)

    def __exit__(self, *exc: object) -> None:
        self.web.close()
        for program in self._programs:
            program.stop()
        super().__exit__(*exc)

    def serve(self) -> None:
        """Start tunproxy with CONFIG."""
        self.config.write_text(CONFIG)
        self.process = self.start_up("--tun", TUN, "--config", str(self.config))

    @property
    def secret(self) -> str:
        return (Path(os.environ["XDG_STATE_HOME"]) / "tunproxy" / "api-secret").read_text().strip()

    def ask(self, path: str, method: str = "GET") -> Any:
        """Return what the API of the running tunproxy answers. The calling thread is on the host."""
        request = urllib.request.Request(URL + path, method=method)
        request.add_header("Authorization", f"Bearer {self.secret}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def command(self, *arguments: str) -> str:
        """Return what a command of tunproxy prints."""
        done = subprocess.run([*TUNPROXY, *arguments], capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def visit(self, name: str) -> socket.socket:
        """Return a connection to the web server on which a page of that name was asked for, and answered."""
        client = socket.create_connection((self.resolve(name), 80), timeout=20)
        try:
            client.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            if client.recv(1000) != ANSWER:
                raise ConnectionError(f"{name} does not answer")
        except BaseException:
            client.close()
            raise
        return client

    def resolve(self, name: str) -> str:
        """Return the address that a resolver tells of a name."""
        query = dns.message.make_query(name, "A")
        answer = dns.query.udp(query, RESOLVER, timeout=20).answer[0]
        return str(answer[0])

    def way_to(self, name: str) -> str:
        """Return by which way a new connection comes to the web server, "" where it does not."""
        try:
            self.visit(name).close()
        except ConnectionError:
            return ""
        return WAYS[self.web.came_for[name]]

    def load(self, name: str) -> Program:
        """Have curl load a page of that name that has no end, until the lab closes."""
        program = Program(
            [
                "curl",
                "-sN",
                "-o",
                os.devnull,
                "--resolve",
                f"{name}:80:{WORLD_IPV4}",
                f"http://{name}/endless",
            ],
            self._scratch / f"{name}.log",
        )
        self._programs.append(program)
        return program

    def _start_socks(self, way: str, address: str) -> None:
        log = self._scratch / f"{way}.log"
        port = str(SOCKS_PORTS[way])
        argv = ("microsocks", "-i", WORLD_IPV4, "-p", port, "-b", address)
        self._programs.append(self.world.spawn(*argv, log=log))
        assert eventually(lambda: self._answers(WORLD_IPV4, int(port))), log.read_text()


class _Web:
    """Answers requests, keeps connections, and notes where each comes from."""

    def __init__(self, lab: HostLab) -> None:
        self.visitors: list[str] = []
        self.came_for: dict[str, str] = {}  # from where the last one came who asked for a name
        self._listener = lab.world.listen("0.0.0.0", 80)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        clients: list[socket.socket] = []
        endless: list[socket.socket] = []
        while not self._ended.is_set():
            for client in select.select([self._listener, *clients], [], [], TICK)[0]:
                if client is self._listener:
                    made, peer = client.accept()
                    self.visitors.append(peer[0])
                    clients.append(made)
                    continue
                with contextlib.suppress(OSError):
                    request = client.recv(4096)
                    if b"/endless" in request:
                        client.sendall(ENDLESS)
                        endless.append(client)
                    elif request:
                        host = request.partition(b"\r\nHost: ")[2].partition(b"\r\n")[0].decode()
                        self.came_for[host] = client.getpeername()[0]
                        client.sendall(ANSWER)
                    if request:
                        continue
                client.close()
                clients.remove(client)
            endless = [client for client in endless if client in clients]
            for client in endless:
                with contextlib.suppress(OSError):
                    client.send(PIECE)
        for client in clients:
            client.close()


@contextlib.contextmanager
def own_state(folder: Path) -> Iterator[None]:
    """Have tunproxy keep what it keeps in a folder, meanwhile."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("XDG_STATE_HOME")
        if before is not None:
            os.environ["XDG_STATE_HOME"] = before
