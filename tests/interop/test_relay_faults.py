"""What goes wrong between ``tunproxy up`` and ``tunproxy relay``: who is told, and what it costs others.

The picture is in ``proxies``; the relay is one of the proxies there. A rule sends each port its own way.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.interop.datagrams import exchange as exchange_datagram
from tests.interop.datagrams import serve as serve_datagrams
from tests.interop.proxied import Up, echo, exchange, serve_streams, until_end, was_reset
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
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4, eventually
from tests.system.peers import Task, block
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import client_keys
from tunproxy.codecs.shadowsocks_stream import ShadowsocksClient
from tunproxy.relay.passwords import make_hash

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.needs("openssl", "setpriv", "ss"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

WORKERS = 2
DIRECT, ANSWERED, REFUSING, FIRST = range(7420, 7424)
LOGIN = f'user = "{USER}"\npassword = {json.dumps(PASSWORD)}\nudp = true\n'
TABLES = {
    "plain-zstd": f'type = "http"\nport = {RELAY}\n{LOGIN}codecs = ["zstd"]\n',
    "tls": f'type = "https"\nport = {RELAY}\n{LOGIN}ca_file = "CERTIFICATE"\n',
    "tls-zstd": f'type = "https"\nport = {RELAY}\n{LOGIN}ca_file = "CERTIFICATE"\ncodecs = ["zstd"]\n',
    "shadow": f'type = "shadowsocks"\nport = {SHADOW}\nmethod = "{SHADOW_METHOD}"\n'
    f'password = "{SHADOW_PASSWORD}"\n',
}
# Twice, as the same complaint about an upstream is not told twice.
WAYS = {
    f"{kind}-{when}": FIRST + number
    for number, (kind, when) in enumerate(itertools.product(TABLES, ("silent", "sending")))
}


class World:
    """The lab with a relay, which may die and come back, and one tunproxy before it."""

    def __init__(self, lab: ProxyLab, stack: contextlib.ExitStack) -> None:
        self.lab = lab
        for port in (*WAYS.values(), DIRECT):
            serve_streams(stack.enter_context(lab.world.listen(TARGET, port)), echo)
        serve_datagrams(stack.enter_context(lab.world.datagram(TARGET, ANSWERED)), lambda data: data)
        self._hash = make_hash("fish")
        self.relay: Relay = start_relay(lab, self._hash, WORKERS)
        stack.callback(self._end)
        self.relay.await_ready()
        rules = [f"DST-PORT,{port},{name}" for name, port in WAYS.items()]
        rules += [f"DST-PORT,{ANSWERED}/{REFUSING},udp"]
        text = f'default = "direct"\nrules = {json.dumps(rules)}\n[dns]\nmode = "off"\n'
        for name in (*WAYS, "udp"):
            table = TABLES["tls" if name == "udp" else name.rpartition("-")[0]]
            text += f'[upstreams."{name}"]\nserver = "{WORLD_IPV4}"\n'
            text += table.replace("CERTIFICATE", str(lab.certificate))
        self.up = Up(lab, "--config", lab.settings("tunproxy.toml", text), name="up-faults")
        stack.callback(self.up.stop)

    def connect(self, port: int) -> socket.socket:
        return self.lab.host.connect(TARGET, port, timeout=30)

    def _end(self) -> None:
        if self.relay.is_alive():
            self.relay.kill()

    def listeners(self, port: int) -> int:
        """Return how many workers listen there."""
        return len(self.lab.world.run("ss", "-tlnH", "sport", "=", f":{port}").stdout.splitlines())

    def restart(self) -> None:
        """Have a relay that nobody has spoken to."""
        self._end()
        self.relay = start_relay(self.lab, self._hash, WORKERS)
        self.relay.await_ready()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ProxyLab() as lab, contextlib.ExitStack() as stack:
        made = World(lab, stack)
        yield made
        made.up.check()
        assert "Traceback" not in made.relay.output(), made.relay.output()


def replay(world: World, said: bytes) -> None:
    """Say to the relay's Shadowsocks server what somebody has recorded."""
    with world.lab.host.connect(WORLD_IPV4, SHADOW) as thief, contextlib.suppress(ConnectionResetError):
        thief.sendall(said)
        thief.shutdown(socket.SHUT_WR)
        assert until_end(thief) == b""


def test_session_that_is_replayed_is_refused_by_every_worker(world: World) -> None:
    """The kernel divides the connections between two workers. Others in their place know of it as well."""
    keys = client_keys(SHADOW_METHOD, SHADOW_PASSWORD)
    codec = ShadowsocksClient(keys, emit_address(socket.inet_aton(TARGET), DIRECT))
    said = codec.encode(b"hello")
    with world.lab.host.connect(WORLD_IPV4, SHADOW) as client:
        client.sendall(said)
        assert codec.decode(client.recv(1000)) == b"hello"
    opened = world.relay.output().count(f":{DIRECT}: opened")
    for _ in range(12):
        replay(world, said)
    children = world.relay.children()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    told = "by SIGKILL: another one takes its place"
    assert eventually(lambda: world.relay.output().count(told) == len(children), 20)
    assert eventually(lambda: world.listeners(SHADOW) == WORKERS, 20)
    for _ in range(12):
        replay(world, said)
    assert world.relay.output().count(f":{DIRECT}: opened") == opened
    assert world.relay.says("replayed session")


def test_workers_share_shadowsocks_clients(world: World) -> None:
    """All of them serve it, each some."""
    keys = client_keys(SHADOW_METHOD, SHADOW_PASSWORD)
    holders = set()
    with contextlib.ExitStack() as stack:
        for _ in range(24):
            codec = ShadowsocksClient(keys, emit_address(socket.inet_aton(TARGET), DIRECT))
            client = stack.enter_context(world.lab.host.connect(WORLD_IPV4, SHADOW))
            client.sendall(codec.encode(b"hello"))
            assert codec.decode(client.recv(1000)) == b"hello"
        done = world.lab.world.run("ss", "-tnpH", "state", "established", "sport", "=", f":{SHADOW}")
        holders = {line.rpartition("pid=")[2].partition(",")[0] for line in done.stdout.splitlines()}
    assert len(holders - {""}) == WORKERS, done.stdout


def test_client_whose_clock_differs_is_told_of_in_the_relays_log(world: World) -> None:
    keys = client_keys(SHADOW_METHOD, SHADOW_PASSWORD)
    target = emit_address(socket.inet_aton(TARGET), DIRECT)
    codec = ShadowsocksClient(keys, target, now=lambda: time.time() - 95)
    replay(world, codec.encode(b"hello"))
    assert world.relay.says("Shadowsocks: clock differs by 9")


def test_target_that_refuses_datagrams_ends_its_tunnel_and_no_other(world: World) -> None:
    """RFC 9298 §3.1; the next datagram asks for another tunnel."""
    over = "connect-udp is over: connection refused"
    with world.lab.host.datagram("0.0.0.0") as client, world.lab.host.datagram("0.0.0.0") as other:
        exchange_datagram(other, TARGET, ANSWERED, b"before")
        for count in (1, 2):
            client.sendto(b"nobody", (TARGET, REFUSING))
            assert eventually(lambda count=count: world.relay.output().count(over) == count, 20)
        exchange_datagram(other, TARGET, ANSWERED, b"after")
    lines = [line for line in world.up.lines() if "upstream udp: " in line]
    assert lines == []  # what a target refuses is no fault of the proxy's


@pytest.mark.parametrize("when", ["silent", "sending"])
def test_relay_that_is_gone_resets_its_flows_and_no_others_and_is_told(world: World, when: str) -> None:
    if not world.relay.is_alive():
        world.restart()
    ways = {name: port for name, port in WAYS.items() if name.endswith(when)}
    with contextlib.ExitStack() as stack:
        bystander = stack.enter_context(world.connect(DIRECT))
        assert exchange(bystander, b"before") == b"before"
        clients = {name: stack.enter_context(world.connect(port)) for name, port in ways.items()}
        for client in clients.values():
            assert exchange(client, b"hello" * 1000) == b"hello" * 1000
        senders = {
            name: Task(send_on, client, name.startswith("shadow"))
            for name, client in clients.items()
            if when == "sending"
        }
        for client in clients.values():
            assert when == "silent" or client.recv(100_000, socket.MSG_PEEK)
        world.relay.kill()
        ends = {name: was_reset(client) for name, client in clients.items()}
        for name, sender in senders.items():  # the kernel tells of a reset once, whoever asks first
            ends[name] = sender.result(60) or ends[name]
        assert exchange(bystander, b"after") == b"after"
    # A Shadowsocks stream has no end of its own: one that stops between two chunks looks as if it were over.
    assert all(is_reset for name, is_reset in ends.items() if name != "shadow-silent"), ends
    assert eventually(lambda: not any(world.listeners(port) for port in (RELAY, SHADOW)), 20)
    for name, port in ways.items():
        if when == "silent" and name != "shadow-silent":  # an end that their formats can tell from a cut
            assert_said(world, f"a flow was cut: upstream {name}: its stream was spoiled: ")
        with pytest.raises(ConnectionRefusedError):  # a reset may also be the target's: this cannot
            world.connect(port)
        assert_said(world, f"upstream {name}: cannot reach the proxy: connection refused")


def assert_said(world: World, words: str) -> None:
    assert world.up.says(words), (words, world.up.output())


def send_on(client: socket.socket, may_end_before: bool) -> bool:
    """Send until nobody takes it any more; tell whether that was a reset.

    The kernel says EPIPE where an end came before the reset, as it may where the stream cannot tell a cut.
    """
    try:
        while True:
            client.sendall(block()[:1_000_000])
    except ConnectionResetError:
        return True
    except BrokenPipeError:
        return may_end_before
    except OSError:
        return False
