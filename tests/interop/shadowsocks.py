"""Shadowsocks servers that people run, one port for each method, and flows that go through each.

    +- host --------------+      +- world --------------------------------------------------+
    |  tunproxy, clients  |======|  ss-server, sing-box, mihomo at 198.51.100.1              |
    |                     |      |  targets at 203.0.113.7, a port for each way to go there  |
    +---------------------+      +----------------------------------------------------------+

One ``tunproxy up`` has them all as upstreams: which of them a flow takes is the rule of its port.
"""

import base64
import hashlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.interop.proxies import READY, ProxyLab
from tests.system.hostlab import WORLD_IPV4
from tests.unit.rulesets.programs import find_mihomo, find_sing_box
from tunproxy.codecs.shadowsocks_keys import METHODS, method_named

PASSWORD = "sw:rd/f%sh #1?"
CLASSIC = ("aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-ietf-poly1305")
FIRST_SERVER, FIRST_TARGET = 8400, 7400


def password_of(method: str, who: str = "server") -> str:
    """Return a password that such a method takes."""
    found = method_named(method)
    if not found.is_2022:
        return PASSWORD
    return base64.b64encode(hashlib.sha256(f"{who} {method}".encode()).digest()[: found.key_len]).decode()


@dataclass(frozen=True)
class Way:
    """A server of a program, and the port of the targets that are reached through it."""

    program: str
    method: str
    port: int
    target: int
    has_users: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.program}-{self.method}" + "-user" * self.has_users)

    @property
    def password(self) -> str:
        """What a client has to know."""
        own = password_of(self.method)
        return f"{own}:{password_of(self.method, 'joe')}" if self.has_users else own


def _ways() -> Iterable[Way]:
    kinds = [("ss-server", method, False) for method in CLASSIC]
    for program in ("sing-box", "mihomo"):
        kinds += [(program, method, False) for method in METHODS]
    kinds += [("sing-box", method, True) for method in METHODS if method_named(method).has_users]
    for number, (program, method, has_users) in enumerate(kinds):
        yield Way(program, method, FIRST_SERVER + number, FIRST_TARGET + number, has_users)


WAYS = tuple(_ways())


def every(*programs: str) -> list[object]:
    """Return the ways of these programs, all unless named, as parameters of a test."""
    found = []
    for way in WAYS:
        if not programs or way.program in programs:
            marks = [pytest.mark.needs("ss-server")] if way.program == "ss-server" else []
            found.append(pytest.param(way, id=way.name, marks=marks))
    return found


def start_servers(lab: ProxyLab) -> dict[str, Path]:
    """Run every server there is a program for; return the logs by program."""
    logs = {}
    for program, argv in _commands(lab):
        name = Path(program).name
        logs[name] = lab.scratch / f"{name}.log"
        lab.programs[name] = lab.world.spawn(*argv, log=logs[name])
    until = time.monotonic() + READY
    for way in WAYS:
        name = way.name if way.program == "ss-server" else way.program
        while name in lab.programs:
            try:
                lab.world.connect(WORLD_IPV4, way.port, timeout=1).close()
                break
            except OSError:
                if lab.programs[name].process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{name}: {logs[name].read_text(errors='replace')}") from None
                time.sleep(0.02)
    return logs


def _commands(lab: ProxyLab) -> Iterable[tuple[str, list[str]]]:
    ss_server = shutil.which("ss-server")
    for way in WAYS:
        if way.program == "ss-server" and ss_server:
            yield way.name, [ss_server, "-s", WORLD_IPV4, "-p", str(way.port), "-u",
                             "-k", way.password, "-m", way.method, "-t", "3"]  # fmt: skip
    sing_box = find_sing_box()
    if sing_box:
        inbounds = [
            {"type": "shadowsocks", "tag": way.name, "listen": WORLD_IPV4, "listen_port": way.port,
             "method": way.method, "password": password_of(way.method),
             **({"users": [{"name": "joe", "password": password_of(way.method, "joe")}]}
                if way.has_users else {})}
            for way in WAYS if way.program == "sing-box"
        ]  # fmt: skip
        text = json.dumps({"inbounds": inbounds, "outbounds": [{"type": "direct"}]})
        yield "sing-box", [sing_box, "run", "-c", lab.settings("sing-box.json", text)]
    mihomo = find_mihomo()
    if mihomo:
        listeners = [
            {"name": way.name, "type": "shadowsocks", "listen": WORLD_IPV4, "port": way.port,
             "cipher": way.method, "password": way.password, "udp": True}
            for way in WAYS if way.program == "mihomo"
        ]  # fmt: skip
        folder = lab.scratch / "mihomo"
        folder.mkdir()
        text = json.dumps({"mode": "direct", "listeners": listeners})  # which is YAML as well
        yield "mihomo", [mihomo, "-d", str(folder), "-f", lab.settings("mihomo.yaml", text)]


def configuration(extra_upstreams: str = "", extra_rules: Iterable[str] = ()) -> str:
    """Return a tunproxy.toml with every way, and what else a test wants."""
    rules = [f"DST-PORT,{way.target},{way.name}" for way in WAYS]
    upstreams = [upstream(way.name, way.port, way.method, way.password) for way in WAYS]
    lines = ",\n".join(json.dumps(rule) for rule in [*extra_rules, *rules])
    return f'rules = [\n{lines}\n]\ndefault = "direct"\n\n' + "\n".join([*upstreams, extra_upstreams])


def upstream(name: str, port: int, method: str, password: str, server: str = WORLD_IPV4) -> str:
    """Return a table of tunproxy.toml."""
    return (
        f'[upstreams."{name}"]\ntype = "shadowsocks"\nserver = "{server}"\nport = {port}\n'
        f'method = "{method}"\npassword = {json.dumps(password)}\n'
    )


class Tap:
    """A relay in the world that notes what passes, and may change or end what the server says."""

    def __init__(self, lab: ProxyLab, port: int, behind: int) -> None:
        self._lab = lab
        self._behind = behind
        self.listener = lab.world.listen(WORLD_IPV4, port)
        self.up = bytearray()
        self.down = bytearray()
        self.flip_up = -1  # the octet of what the client says that has a bit flipped
        self.flip_down = -1  # and of the answer
        self.cut_down = -1  # after so many octets of the answer
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        self.listener.settimeout(0.2)
        while self.listener.fileno() >= 0:
            try:
                client = self.listener.accept()[0]
            except TimeoutError:
                continue
            except OSError:
                return
            client.settimeout(30)
            server = self._lab.world.connect(WORLD_IPV4, self._behind, timeout=30)
            for source, sink, noted in ((client, server, self.up), (server, client, self.down)):
                threading.Thread(target=self._pass_on, args=(source, sink, noted), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, noted: bytearray) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                noted += data
                words = bytearray(data)
                at = (self.flip_down if noted is self.down else self.flip_up) - passed
                if 0 <= at < len(words):
                    words[at] ^= 0x10
                if noted is self.down:
                    if 0 <= self.cut_down < passed + len(words):
                        sink.sendall(words[: max(0, self.cut_down - passed)])
                        break
                passed += len(words)
                sink.sendall(words)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
