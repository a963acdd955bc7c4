"""What somebody on the way sees of encrypted flows: tcpdump between ``tunproxy up`` and the other ends.

    +- host -------------------+   tcpdump    +- world ------------------------------------+
    |  clients, tunproxy up    |======|=======|  tunproxy relay, ss-server at 198.51.100.1  |
    +--------------------------+              |  targets at 203.0.113.7                     |
                                              +---------------------------------------------+

The same search finds everything in flows that are not encrypted: so it would find it in the others.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.interop.datagrams import exchange as exchange_datagram
from tests.interop.datagrams import serve as serve_datagrams
from tests.interop.proxied import Up, echo, exchange, serve_streams
from tests.interop.proxies import TARGET, ProxyLab
from tests.interop.relays import (
    PASSWORD,
    RELAY,
    SHADOW,
    SHADOW_METHOD,
    SHADOW_PASSWORD,
    USER,
    Relay,
    start_relay,
)
from tests.interop.wiretap import Wiretap
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import ROUTER_IPV4, UPLINK, WORLD_IPV4, eventually
from tunproxy.relay.passwords import make_hash

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.needs("tcpdump", "openssl", "setpriv"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

OLD_METHOD, OLD_PORT, OLD_PASSWORD = "aes-256-gcm", 8400, "a password for this test"
LINES = [b"nobody on the way may read this line, which is number %06d\n" % number for number in range(3000)]
MARKED = b"".join(LINES)
DATAGRAMS = [b"".join(LINES[at : at + 20]) for at in range(0, 200, 20)]
NEEDLE = b"may read this line"


@dataclass(frozen=True)
class Kind:
    """A way to the target at a port of its own; server is the port that is seen on the way."""

    name: str
    target: int
    server: int
    options: str
    needs: str = ""


def login(kind: str, more: str = "") -> str:
    words = json.dumps(PASSWORD)
    return f'type = "{kind}"\nport = {RELAY}\nuser = "{USER}"\npassword = {words}\nudp = true\n{more}'


def shadowsocks(port: int, method: str, password: str) -> str:
    return f'type = "shadowsocks"\nport = {port}\nmethod = "{method}"\npassword = "{password}"\n'


SECRET = (
    Kind("shadowsocks-2017", 7401, OLD_PORT, shadowsocks(OLD_PORT, OLD_METHOD, OLD_PASSWORD), "ss-server"),
    Kind("shadowsocks-2022", 7402, SHADOW, shadowsocks(SHADOW, SHADOW_METHOD, SHADOW_PASSWORD)),
    Kind("tls", 7403, RELAY, login("https", 'ca_file = "{certificate}"')),
    Kind("tls-zstd", 7404, RELAY, login("https", 'ca_file = "{certificate}"\ncodecs = ["zstd"]')),
)
OPEN = (Kind("http", 7405, RELAY, login("http")), Kind("direct", 7406, 7406, ""))


def every(kinds: tuple[Kind, ...]) -> list[object]:
    return [
        pytest.param(kind, id=kind.name, marks=[pytest.mark.needs(kind.needs)] if kind.needs else [])
        for kind in kinds
    ]


class World:
    """The lab, the other ends, one tunproxy, and tcpdump between them."""

    def __init__(self, lab: ProxyLab, stack: contextlib.ExitStack) -> None:
        self.lab = lab
        for kind in (*SECRET, *OPEN):
            serve_streams(stack.enter_context(lab.world.listen(TARGET, kind.target)), echo)
            serve_datagrams(stack.enter_context(lab.world.datagram(TARGET, kind.target)), lambda data: data)
        relay: Relay = start_relay(lab, make_hash("fish"))
        stack.callback(relay.kill)
        ss_server = shutil.which("ss-server")
        if ss_server:
            lab.programs["ss-server"] = lab.world.spawn(
                *(
                    ss_server,
                    "-s",
                    WORLD_IPV4,
                    "-p",
                    str(OLD_PORT),
                    "-k",
                    OLD_PASSWORD,
                    "-m",
                    OLD_METHOD,
                    "-u",
                ),
                log=lab.scratch / "ss-server.log",
            )
            assert eventually(lambda: self._answers(OLD_PORT), 20)
        relay.await_ready()
        rules = [f"DST-PORT,{kind.target},{kind.name}" for kind in (*SECRET, *OPEN) if kind.options]
        text = f'default = "direct"\nrules = {json.dumps(rules)}\n[dns]\nmode = "off"\n'
        for kind in (*SECRET, *OPEN):
            if kind.options:
                options = kind.options.format(certificate=lab.certificate)
                text += f'[upstreams."{kind.name}"]\nserver = "{WORLD_IPV4}"\n{options}\n'
        self.up = Up(lab, "--config", lab.settings("tunproxy.toml", text), name="up-wire")
        stack.callback(self.up.stop)
        self._tokens = 0

    def _answers(self, port: int) -> bool:
        try:
            self.lab.world.connect(WORLD_IPV4, port, timeout=1).close()
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def tapped(self) -> Iterator[Wiretap]:
        """Capture what passes meanwhile, all of it."""
        self._tokens += 1
        tap = Wiretap(self.lab.host, UPLINK, self.lab.scratch / f"capture-{self._tokens}.pcap")
        try:
            yield tap
            tap.catch_up(ROUTER_IPV4, os.urandom(16))
        finally:
            said = tap.stop()
        assert "\n0 packets dropped by kernel" in said, said

    def talk(self, kind: Kind) -> None:
        """Have words go to the target and come back, as a stream and as datagrams."""
        with self.lab.host.connect(TARGET, kind.target, timeout=60) as client:
            client.settimeout(60)
            for at in range(0, len(MARKED), 20_000):
                assert exchange(client, MARKED[at : at + 20_000]) == MARKED[at : at + 20_000]
        with self.lab.host.datagram("0.0.0.0") as sock:
            sock.settimeout(20)
            for payload in DATAGRAMS:
                exchange_datagram(sock, TARGET, kind.target, payload)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ProxyLab() as lab, contextlib.ExitStack() as stack:
        made = World(lab, stack)
        yield made
        made.up.check()


def seen(world: World, kind: Kind) -> dict[str, bytes]:
    """Return what somebody on the way sees of a kind."""
    with world.tapped() as tap:
        world.talk(kind)
    return tap.payloads(kind.server)


@pytest.mark.parametrize("kind", every(SECRET))
def test_encrypted_flow_shows_nothing_of_what_is_said_nor_to_whom(world: World, kind: Kind) -> None:
    found = seen(world, kind)
    datagrams = "udp" if kind.name.startswith("shadowsocks") else "tcp"  # connect-udp is inside the stream
    least = 10_000 if kind.name == "tls-zstd" else len(MARKED)
    for way in ("up", "down"):
        assert len(found[f"tcp-{way}"]) > least
        assert len(found[f"{datagrams}-{way}"]) > sum(map(len, DATAGRAMS))
        for words in (found[f"tcp-{way}"], found[f"udp-{way}"]):
            assert NEEDLE not in words
            assert TARGET.encode() not in words
            assert bytes(map(int, TARGET.split("."))) + kind.target.to_bytes(2, "big") not in words


@pytest.mark.parametrize("kind", every(OPEN))
def test_same_search_finds_all_of_a_flow_that_is_not_encrypted(world: World, kind: Kind) -> None:
    found = seen(world, kind)
    for way in ("up", "down"):
        assert MARKED in found[f"tcp-{way}"]
        assert found[f"tcp-{way}"].count(NEEDLE) + found[f"udp-{way}"].count(NEEDLE) == len(LINES) + 200
    if kind.name == "http":
        assert f"CONNECT {TARGET}:{kind.target}".encode() in found["tcp-up"]
