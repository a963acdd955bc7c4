"""``tunproxy up`` through a proxy as tests see it, and the servers that its flows are for."""

import contextlib
import hashlib
import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.interop.proxies import TARGET, TARGET6, ProxyLab
from tests.system.hostlab import TUNPROXY, eventually
from tests.system.proxy import COMPLAINT

WEB, ECHO, DIGEST, BANNER, SLOW, NOBODY = 8080, 7000, 7001, 7002, 7003, 9
NGINX = """
daemon off;
user root;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx-error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    client_max_body_size 0;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen {four}:{web} backlog=4096;
        listen [{six}]:{web} backlog=4096;
        root {scratch}/www;
        location /upload/ {{ dav_methods PUT; }}
        location /whence {{ return 200 '$remote_addr\\n'; }}
        location /204 {{ return 204; }}
    }}
}}
"""


class Up:
    """A running ``tunproxy up`` on the host, what it says, and what its worker holds."""

    def __init__(self, lab: ProxyLab, *options: str, name: str = "up") -> None:
        self._lab = lab
        self._program = lab.host.spawn(*TUNPROXY, "up", *options, log=lab.scratch / f"{name}.log")
        if not eventually(lambda: "worker uid" in self.output() or not self.is_alive(), 20):
            self.stop()
        assert self.is_alive(), self.output()
        self._start = len(self.output())

    def __enter__(self) -> "Up":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_alive(self) -> bool:
        return self._program.process.poll() is None

    def output(self) -> str:
        return self._program.log.read_text(errors="replace")

    def says(self, words: str) -> bool:
        """Tell whether it comes to say so: what is wrong with a flow it may tell after the flow's end."""
        return eventually(lambda: words in self.output(), 20)

    def lines(self) -> list[str]:
        """Return what it has said since it serves."""
        return self.output()[self._start :].splitlines()

    def worker(self) -> int:
        """Return the process that carries the packets."""
        pid = self._program.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1])

    def pids(self) -> tuple[int, int]:
        return self._program.process.pid, self.worker()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.worker()}/fd"))

    def has_at_most(self, descriptors: int, within: float = 30) -> bool:
        """Tell whether the worker comes down to so many descriptors."""
        return eventually(lambda: self.descriptors() <= descriptors, within)

    def check(self) -> None:
        """Fail where it died or said what a healthy one never says."""
        assert self.is_alive(), self.output()
        assert not COMPLAINT.search(self.output()), self.output()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._program.process.pid, signal.SIGTERM)
        self._program.stop()


def serve(lab: ProxyLab) -> Iterator[None]:
    """Run nginx and the small servers at the targets meanwhile."""
    (lab.scratch / "www" / "upload").mkdir(parents=True)
    text = NGINX.format(scratch=lab.scratch, four=TARGET, six=TARGET6, web=WEB)
    nginx = lab.world.spawn("nginx", "-c", lab.settings("nginx.conf", text), "-e", "stderr",
                            log=lab.scratch / "nginx.log")  # fmt: skip
    with contextlib.ExitStack() as stack:
        for address in (TARGET, TARGET6):
            for port, handle in ((ECHO, echo), (DIGEST, digest), (BANNER, banner), (SLOW, trickle)):
                serve_streams(stack.enter_context(lab.world.listen(address, port)), handle)
        assert eventually(lambda: _answers(lab), 20), nginx.log.read_text()
        yield
    nginx.stop()


def _answers(lab: ProxyLab) -> bool:
    try:
        lab.world.connect(TARGET, WEB, timeout=1).close()
    except OSError:
        return False
    return True


def serve_streams(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    """Have a thread for each connection until the listener is closed."""
    listener.settimeout(0.2)

    def accept() -> None:
        while listener.fileno() >= 0:
            try:
                conn = listener.accept()[0]
            except TimeoutError:
                continue
            except OSError:
                return
            conn.settimeout(120)
            threading.Thread(target=_handle, args=(handle, conn), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def _handle(handle: Callable[[socket.socket], None], conn: socket.socket) -> None:
    with conn, contextlib.suppress(OSError):
        handle(conn)


def echo(conn: socket.socket) -> None:
    """Say what is said, and end when the other has ended."""
    while data := conn.recv(65536):
        conn.sendall(data)


def digest(conn: socket.socket) -> None:
    """Listen to the end, and only then answer: with the hash of what was heard."""
    hasher = hashlib.blake2b()
    while data := conn.recv(65536):
        hasher.update(data)
    conn.sendall(hasher.hexdigest().encode())


def banner(conn: socket.socket) -> None:
    """Speak first, as SSH, SMTP and MySQL do; end after one answer."""
    conn.sendall(b"220 speak\r\n")
    conn.sendall(b"221 you said " + conn.recv(100))


def trickle(conn: socket.socket) -> None:
    """Send an octet every now and then until nobody listens."""
    while True:
        conn.sendall(b".")
        time.sleep(0.05)


def exchange(sock: socket.socket, words: bytes) -> bytes:
    """Say words to an echo and return what comes back."""
    sock.sendall(words)
    heard = b""
    while len(heard) < len(words):
        data = sock.recv(65536)
        if not data:
            break
        heard += data
    return heard


def until_end(sock: socket.socket) -> bytes:
    heard = b""
    while data := sock.recv(65536):
        heard += data
    return heard


def was_reset(sock: socket.socket) -> bool:
    """Read to the end of a stream; tell whether that was a reset."""
    try:
        until_end(sock)
    except ConnectionResetError:
        return True
    return False


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def about(lines: list[str], port: int) -> list[str]:
    """Return the lines that are about flows to this port of a target."""
    return [line for line in lines if re.search(rf"-> \S+:{port}\b", line)]
