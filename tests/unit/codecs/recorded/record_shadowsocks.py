"""Record what other programs say to each other: ``unshare -n python -P`` and this file.

    we ─ SOCKS ─▶ client ─▶ tap ─▶ server ─▶ echo

Writes shadowsocks.json beside it: a stream and a datagram, each way, for each pair of programs and method.
Needs root for the namespace, and ss-local, ss-server, sing-box and mihomo.
"""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT))

from tests.unit.rulesets.programs import find_mihomo, find_sing_box  # noqa: E402
from tunproxy.codecs.shadowsocks_keys import method_named  # noqa: E402

HERE = "127.0.0.1"
ECHO, SERVER, TAP, SOCKS = 7007, 8401, 8402, 1081
WORDS = b"recorded: what a program says first"
CASES = (
    ("ss-libev", "aes-256-gcm", False),
    ("ss-libev", "chacha20-ietf-poly1305", False),
    ("sing-box", "aes-128-gcm", False),
    ("sing-box", "2022-blake3-aes-128-gcm", False),
    ("sing-box", "2022-blake3-aes-256-gcm", True),
    ("sing-box", "2022-blake3-chacha20-poly1305", False),
    ("mihomo", "aes-192-gcm", False),
    ("mihomo", "2022-blake3-aes-256-gcm", False),
)


def password(method: str, number: int) -> str:
    """Return a password that method takes."""
    size = method_named(method).key_len
    return base64.b64encode(bytes([number]) * size).decode() if method.startswith("2022") else "recorded"


def commands(program: str, method: str, has_users: bool, folder: Path) -> list[list[str]]:
    """Return how the server and the client are run."""
    own, user = password(method, 1), password(method, 2)
    known = f"{own}:{user}" if has_users else own
    if program == "ss-libev":
        common = ["-k", own, "-m", method, "-u", "-t", "60"]
        return [
            ["ss-server", "-s", HERE, "-p", str(SERVER), *common],
            ["ss-local", "-s", HERE, "-p", str(TAP), "-b", HERE, "-l", str(SOCKS), *common],
        ]
    if program == "sing-box":
        inbound: dict[str, object] = {"type": "shadowsocks", "listen": HERE, "listen_port": SERVER,
                                      "method": method, "password": own}  # fmt: skip
        if has_users:
            inbound["users"] = [{"name": "joe", "password": user}]
        outbound = {"type": "shadowsocks", "server": HERE, "server_port": TAP, "method": method,
                    "password": known}  # fmt: skip
        socks = {"type": "socks", "listen": HERE, "listen_port": SOCKS}
        written = [{"inbounds": [inbound]}, {"inbounds": [socks], "outbounds": [outbound]}]
        program_path = find_sing_box() or "sing-box"
        found = []
        for number, settings in enumerate(written):
            path = folder / f"{number}.json"
            path.write_text(json.dumps(settings))
            found.append([program_path, "run", "-c", str(path)])
        return found
    listener = {"name": "in", "type": "shadowsocks", "listen": HERE, "port": SERVER, "cipher": method,
                "password": own, "udp": True}  # fmt: skip
    proxy = {"name": "out", "type": "ss", "server": HERE, "port": TAP, "cipher": method, "password": known,
             "udp": True}  # fmt: skip
    both = [
        {"mode": "direct", "listeners": [listener]},
        {
            "mode": "rule",
            "socks-port": SOCKS,
            "bind-address": HERE,
            "proxies": [proxy],
            "rules": ["MATCH,out"],
        },
    ]
    found = []
    for number, settings in enumerate(both):
        home = folder / str(number)
        home.mkdir()
        (home / "config.yaml").write_text(json.dumps(settings))
        found.append([find_mihomo() or "mihomo", "-d", str(home)])
    return found


class Tap:
    """Notes streams and datagrams between client and server."""

    def __init__(self) -> None:
        self.said: dict[str, bytearray] = {"up": bytearray(), "down": bytearray()}
        self.datagrams: dict[str, list[bytes]] = {"up": [], "down": []}
        self.listener = socket.create_server((HERE, TAP))
        self.ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ear.bind((HERE, TAP))
        self.mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.mouth.connect((HERE, SERVER))
        self.client: object = None
        for work in (self._accept, self._listen, self._answer):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        for sock in (self.listener, self.ear, self.mouth):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes who waits for it
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection((HERE, SERVER))
                for source, sink, way in ((client, server, "up"), (server, client, "down")):
                    threading.Thread(target=self._pass_on, args=(source, sink, way), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.said[way] += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, self.client = self.ear.recvfrom(65536)
                self.datagrams["up"].append(data)
                self.mouth.send(data)

    def _answer(self) -> None:
        while self.mouth.fileno() >= 0:
            try:
                data = self.mouth.recv(65536)
            except ConnectionRefusedError:
                continue
            except OSError:
                return
            if not data:
                return
            self.datagrams["down"].append(data)
            self.ear.sendto(data, self.client)  # type: ignore[arg-type]


@contextlib.contextmanager
def running(program: str, method: str, has_users: bool) -> Iterator[None]:
    """Run server and client meanwhile."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for argv, port in zip(
            commands(program, method, has_users, Path(folder)), (SERVER, SOCKS), strict=True
        ):
            process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            for _ in range(500):
                with contextlib.suppress(OSError), socket.create_connection((HERE, port), 1):
                    break
                time.sleep(0.02)
        time.sleep(0.2)
        yield


def through_socks(command: int) -> tuple[socket.socket, int]:
    """Return a connection to the client on which a SOCKS request has been granted, and the port it names."""
    sock = socket.create_connection((HERE, SOCKS), 10)
    sock.sendall(b"\x05\x01\x00")
    sock.recv(2)
    sock.sendall(bytes((5, command, 0, 1)) + socket.inet_aton(HERE) + ECHO.to_bytes(2, "big"))
    answer = sock.recv(100)
    assert answer[1] == 0, answer
    return sock, int.from_bytes(answer[-2:], "big")


def record(program: str, method: str, has_users: bool) -> dict[str, object]:
    """Return what one pair of programs says."""
    tap = Tap()
    with running(program, method, has_users):
        began = int(time.time())
        tap.said["up"].clear()
        tap.said["down"].clear()
        with through_socks(1)[0] as sock:
            sock.sendall(WORDS)
            assert sock.recv(1000) == WORDS
            said = {way: base64.b64encode(words).decode() for way, words in tap.said.items()}
        control, port = through_socks(3)
        with control, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            header = b"\x00\x00\x00\x01" + socket.inet_aton(HERE) + ECHO.to_bytes(2, "big")
            sock.sendto(header + WORDS, (HERE, port))
            assert sock.recv(1000).endswith(WORDS)
    tap.close()
    time.sleep(0.2)
    return {
        "program": program,
        "method": method,
        "password": password(method, 1),
        "user": password(method, 2) if has_users else "",
        "time": began,
        **said,
        **{f"datagram_{way}": base64.b64encode(found[0]).decode() for way, found in tap.datagrams.items()},
    }


def echo() -> None:
    """Say what is said, over TCP and UDP."""
    listener = socket.create_server((HERE, ECHO))
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.bind((HERE, ECHO))

    def streams() -> None:
        while True:
            conn = listener.accept()[0]
            conn.sendall(conn.recv(65536))

    def datagrams() -> None:
        while True:
            data, whose = ear.recvfrom(65536)
            ear.sendto(data, whose)

    for work in (streams, datagrams):
        threading.Thread(target=work, daemon=True).start()


def main() -> None:
    """Write the file."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    echo()
    found = [record(*case) for case in CASES]
    Path(__file__).with_name("shadowsocks.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
