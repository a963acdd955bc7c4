"""Clients that people run, in front of our relay: ss-local, sing-box and mihomo, each a SOCKS 5 server here.

    +- host ------------------------------------+      +- world --------------------------------+
    |  tests ─▶ ss-local, sing-box, mihomo      |======|  tunproxy relay, one for each method   |
    |           at 127.0.0.1, a port for a way  |      |  targets at 203.0.113.7                |
    +-------------------------------------------+      +----------------------------------------+

There is no tunproxy on the host: what is shown is that the relay understands other people's clients.
"""

import hashlib
import json
import shutil
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.proxies import TARGET, TARGET6, ProxyLab
from tests.interop.relays import PASSWORD, RELAY, USER, Relay
from tests.interop.shadowsocks import CLASSIC, password_of
from tests.system.hostlab import WORLD_IPV4, eventually
from tests.system.namespace import Namespace, Program, family_of
from tests.unit.rulesets.programs import find_mihomo, find_sing_box
from tunproxy.codecs.shadowsocks_keys import METHODS, method_named

FIRST_RELAY, FIRST_CLIENT = 2200, 1200
USERS = "-users"  # behind the name of a method: of a relay that tells users apart
WRONG = "-wrong"  # of a way whose password is another one
MISTAKEN = {  # a relay for each, as it tells the same of two clients only once
    "sing-box": ("aes-256-gcm", "2022-blake3-aes-256-gcm"),
    "mihomo": ("aes-128-gcm", "2022-blake3-chacha20-poly1305"),
}
METHODS_WITH_USERS = tuple(method for method in METHODS if method_named(method).has_users)

CONFIG = """
listen = []
workers = {workers}
log-flows = true

[targets]
allow = ["{target}", "{target6}"]

[shadowsocks]
listen = ["{address}:{port}"]
method = "{method}"
password = "{password}"
"""


@dataclass(frozen=True)
class Way:
    """How a program's client gets to a relay of ours: kind is a Shadowsocks relay's name, https or socks5."""

    program: str
    kind: str
    port: int  # where the program listens on the host

    @property
    def name(self) -> str:
        return f"{self.program}-{self.kind}"

    @property
    def is_shadowsocks(self) -> bool:
        return self.kind not in ("https", "socks5")

    @property
    def method(self) -> str:
        return self.kind.removesuffix(WRONG).removesuffix(USERS)

    @property
    def password(self) -> str:
        own = password_of(self.method)
        if self.kind.endswith(WRONG):
            return password_of(self.method, "mallory") if method_named(self.method).is_2022 else "another"
        return f"{own}:{password_of(self.method, 'joe')}" if self.kind.endswith(USERS) else own


def _ways() -> Iterable[Way]:
    both = (*METHODS, *(method + USERS for method in METHODS_WITH_USERS), "https", "socks5")
    kinds = [("ss-local", kind) for kind in CLASSIC]
    kinds += [(program, kind) for program in ("sing-box", "mihomo") for kind in both]
    kinds += [(program, method + WRONG) for program, methods in MISTAKEN.items() for method in methods]
    for number, (program, kind) in enumerate(kinds):
        yield Way(program, kind, FIRST_CLIENT + number)


WAYS = tuple(_ways())
RELAYS = (*METHODS, *(method + USERS for method in METHODS_WITH_USERS))  # of Shadowsocks, by kind


def every(
    *programs: str, wrong: bool = False, datagrams: bool = False, shadowsocks: bool = True
) -> list[object]:
    """Return the ways of these programs, all unless named, as parameters of a test."""
    found = []
    for way in WAYS:
        if (programs and way.program not in programs) or way.kind.endswith(WRONG) is not wrong:
            continue
        if (datagrams and way.kind == "https") or (way.is_shadowsocks and not shadowsocks):
            continue
        marks = [pytest.mark.needs("ss-local")] if way.program == "ss-local" else []
        found.append(pytest.param(way, id=way.name, marks=marks))
    return found


def relay_port(kind: str) -> int:
    """Return where the Shadowsocks relay of a kind is."""
    return FIRST_RELAY + RELAYS.index(kind.removesuffix(WRONG))


def start_relays(lab: ProxyLab, workers: int) -> dict[str, Relay]:
    """Start a relay for each kind of Shadowsocks; they are not ready yet."""
    made = {}
    for kind in RELAYS:
        method = kind.removesuffix(USERS)
        text = CONFIG.format(
            address=WORLD_IPV4, port=relay_port(kind), method=method, password=password_of(method),
            target=TARGET, target6=TARGET6, workers=workers,
        )  # fmt: skip
        if kind.endswith(USERS):
            joe, jane = password_of(method, "joe"), password_of(method, "jane")
            text += f'users = {{ joe = "{joe}", jane = "{jane}" }}\n'
        made[kind] = Relay(lab, f"relay-{kind}", text, relay_port(kind))
    return made


def start_clients(lab: ProxyLab) -> dict[str, Program]:
    """Run every client there is a program for; return them by name, an ss-local by that of its way."""
    started = {
        name: lab.host.spawn(*argv, log=lab.scratch / f"client-{name}.log") for name, argv in _commands(lab)
    }
    for way in WAYS:
        program = started.get(way.name if way.program == "ss-local" else way.program)
        if program is not None:
            assert eventually(lambda port=way.port: _listens(lab.host, port), 30), program.log.read_text()
    return started


def _listens(where: Namespace, port: int) -> bool:
    try:
        where.connect("127.0.0.1", port, timeout=1).close()
    except OSError:
        return False
    return True


def _commands(lab: ProxyLab) -> Iterable[tuple[str, list[str]]]:
    ss_local = shutil.which("ss-local")
    for way in WAYS:
        if way.program == "ss-local" and ss_local:
            yield way.name, [ss_local, "-s", WORLD_IPV4, "-p", str(relay_port(way.kind)), "-l", str(way.port),
                             "-b", "127.0.0.1", "-k", way.password, "-m", way.method, "-u"]  # fmt: skip
    sing_box, mihomo = find_sing_box(), find_mihomo()
    if sing_box:
        ways = [way for way in WAYS if way.program == "sing-box"]
        configuration = {
            "inbounds": [
                {"type": "socks", "tag": way.name, "listen": "127.0.0.1", "listen_port": way.port}
                for way in ways
            ],
            "outbounds": [{"tag": way.name, "server": WORLD_IPV4, **_of_sing_box(lab, way)} for way in ways],
            "route": {"rules": [{"inbound": way.name, "outbound": way.name} for way in ways]},
        }
        path = lab.settings("sing-box-client.json", json.dumps(configuration))
        yield "sing-box", [sing_box, "run", "-c", path]
    if mihomo:
        ways = [way for way in WAYS if way.program == "mihomo"]
        configuration = {
            "mode": "rule",
            "ipv6": True,
            "find-process-mode": "off",
            "rules": ["MATCH,REJECT"],
            "proxies": [{"name": way.name, "server": WORLD_IPV4, **_of_mihomo(lab, way)} for way in ways],
            "listeners": [
                {"name": f"in-{way.name}", "type": "socks", "listen": "127.0.0.1", "port": way.port,
                 "udp": True, "proxy": way.name}
                for way in ways
            ],
        }  # fmt: skip
        folder = lab.scratch / "mihomo-client"
        folder.mkdir()
        path = lab.settings("mihomo-client.yaml", json.dumps(configuration))  # which is YAML as well
        yield "mihomo", [mihomo, "-d", str(folder), "-f", path]


def _of_sing_box(lab: ProxyLab, way: Way) -> dict[str, object]:
    login = {"server_port": RELAY, "username": USER, "password": PASSWORD}
    if way.kind == "https":
        return {"type": "http", **login, "tls": {"enabled": True, "certificate_path": str(lab.certificate)}}
    if way.kind == "socks5":
        return {"type": "socks", **login}
    return {
        "type": "shadowsocks", "server_port": relay_port(way.kind),
        "method": way.method, "password": way.password,
    }  # fmt: skip


def _of_mihomo(lab: ProxyLab, way: Way) -> dict[str, object]:
    login = {"port": RELAY, "username": USER, "password": PASSWORD}
    if way.kind == "https":
        return {"type": "http", **login, "tls": True, "fingerprint": _fingerprint(lab.certificate)}
    if way.kind == "socks5":
        return {"type": "socks5", **login, "udp": True}
    return {
        "type": "ss", "port": relay_port(way.kind), "cipher": way.method,
        "password": way.password, "udp": True,
    }  # fmt: skip


def _fingerprint(certificate: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


# what a program does that uses a SOCKS 5 server (RFC 1928)


def connect(where: Namespace, server: int, target: str, port: int, timeout: float = 60) -> socket.socket:
    """Return a stream to target through the SOCKS server at a port of the host's."""
    sock = where.connect("127.0.0.1", server, timeout=timeout)
    try:
        _ask(sock, 1, target, port)
    except BaseException:
        sock.close()
        raise
    return sock


class Datagrams:
    """Datagrams to target and back, beside a connection that stays open."""

    def __init__(self, where: Namespace, server: int, target: str, port: int) -> None:
        self._control = where.connect("127.0.0.1", server)
        address, bound = _ask(self._control, 3, "0.0.0.0", 0)
        self._at = ("127.0.0.1" if address == "0.0.0.0" else address, bound)
        self._head = b"\0\0\0" + _written(target, port)
        self._sock = where.datagram("127.0.0.1")

    def exchange(self, payload: bytes) -> bytes:
        """Send payload; return the next that comes back from the target."""
        self._sock.sendto(self._head + payload, self._at)
        answer = self._sock.recv(65535)
        assert answer.startswith(self._head), answer[:40]
        return answer[len(self._head) :]

    def close(self) -> None:
        self._control.close()
        self._sock.close()


def _ask(sock: socket.socket, command: int, target: str, port: int) -> tuple[str, int]:
    """Have a command done; return the address in the answer. Raises ConnectionError where it is refused."""
    sock.sendall(b"\x05\x01\x00")
    assert exactly(sock, 2) == b"\x05\x00"
    sock.sendall(bytes((5, command, 0)) + _written(target, port))
    head = exactly(sock, 4)
    if head[1]:
        raise ConnectionError(f"SOCKS error {head[1]}")
    family, size = (socket.AF_INET, 4) if head[3] == 1 else (socket.AF_INET6, 16)
    address = socket.inet_ntop(family, exactly(sock, size))
    return address, int.from_bytes(exactly(sock, 2), "big")


def _written(target: str, port: int) -> bytes:
    family = family_of(target)
    kind = b"\x01" if family == socket.AF_INET else b"\x04"
    return kind + socket.inet_pton(family, target) + port.to_bytes(2, "big")


def exactly(sock: socket.socket, size: int) -> bytes:
    """Read so many octets. Raises ConnectionError where the stream ends before."""
    heard = b""
    while len(heard) < size:
        data = sock.recv(size - len(heard))
        if not data:
            raise ConnectionError("the other end hung up")
        heard += data
    return heard
