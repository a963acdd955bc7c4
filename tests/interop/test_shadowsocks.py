"""Streams of a whole host through Shadowsocks servers that people run: ``tunproxy up`` with a configuration.

The picture is in ``shadowsocks``. 20 MB go each way unless ``TUNPROXY_TEST_MEGABYTES`` says otherwise: with
1000 it is a gigabyte.
"""

import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator

import pytest

from tests.interop.proxied import Up, serve_streams, until_end, was_reset
from tests.interop.proxies import TARGET, TARGET6, ProxyLab
from tests.interop.shadowsocks import (
    FIRST_SERVER,
    FIRST_TARGET,
    WAYS,
    Tap,
    Way,
    configuration,
    every,
    password_of,
    start_servers,
    upstream,
)
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4
from tests.system.peers import MEGABYTE, block
from tunproxy.codecs.shadowsocks_keys import server_keys
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_server import ShadowsocksServer

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

SKEWED_METHOD = "2022-blake3-aes-256-gcm"
SIZE = int(os.environ.get("TUNPROXY_TEST_MEGABYTES", "20")) * MEGABYTE
DOWN = 7919  # where in the block the stream down begins
FLOWS = 100
TAPPED, TAPPED_2022, WRONG, WRONG_2022, DEAD, SKEWED = range(FIRST_TARGET + 80, FIRST_TARGET + 86)
TAP_PORT, TAP_PORT_2022, SKEWED_PORT = range(FIRST_SERVER + 80, FIRST_SERVER + 83)
MARKED = b"no octet of this may be seen by anybody on the way. " * 400


def pieces(start: int) -> Iterator[memoryview]:
    """Yield a stream of SIZE octets, the block from start on and then again and again."""
    octets, left = memoryview(block()), SIZE
    while left:
        piece = octets[start : start + min(left, MEGABYTE)]
        left -= len(piece)
        start = (start + len(piece)) % len(octets)
        yield piece


def digest(start: int) -> str:
    hasher = hashlib.blake2b()
    for piece in pieces(start):
        hasher.update(piece)
    return hasher.hexdigest()


def send_stream(conn: socket.socket, start: int) -> None:
    for piece in pieces(start):
        conn.sendall(piece)


DIGEST_OF_UP = digest(0).encode()


def exactly(conn: socket.socket, size: int) -> bytes:
    """Read so many octets, fewer where the stream ends before."""
    heard = b""
    while len(heard) < size and (data := conn.recv(size - len(heard))):
        heard += data
    return heard


def both_ways(conn: socket.socket) -> None:
    """Say the hash of what is heard: 8 octets say how much there is, 0 to the end; SIZE gets as much."""
    size = left = int.from_bytes(exactly(conn, 8), "big")
    hasher = hashlib.blake2b()
    while (left or not size) and (data := conn.recv(1 << 18)):
        hasher.update(data)
        left -= len(data)
    conn.sendall(hasher.hexdigest().encode())
    if size == SIZE:
        send_stream(conn, DOWN)


def speak_first(conn: socket.socket) -> None:
    conn.sendall(b"220 speak\r\n")
    conn.sendall(b"221 you said " + conn.recv(100))


def repeat(conn: socket.socket) -> None:
    while data := conn.recv(1 << 16):
        conn.sendall(data)


def served_by(way_name: str) -> Way:
    return next(way for way in WAYS if way.name == way_name)


def answer_later(conn: socket.socket) -> None:
    """Be a server whose clock goes 95 s ahead once it has been asked."""
    keys = server_keys(SKEWED_METHOD, password_of(SKEWED_METHOD))
    codec = ShadowsocksServer(
        keys, SaltMemory(is_2022=True), lambda: time.time() + (95 if codec.target is not None else 0)
    )
    while codec.target is None:
        codec.decode(conn.recv(1 << 16))
    conn.sendall(codec.encode(b"it is late"))
    until_end(conn)


class World:
    """The lab with all its servers and targets, and one tunproxy before them."""

    def __init__(self, lab: ProxyLab) -> None:
        self.lab = lab
        self.logs = start_servers(lab)
        for way in WAYS:
            serve_streams(lab.world.listen(TARGET, way.target), both_ways)
            serve_streams(lab.world.listen(TARGET6, way.target), speak_first)
        for port in (TAPPED, TAPPED_2022, WRONG, WRONG_2022, DEAD):
            serve_streams(lab.world.listen(TARGET, port), repeat)
        serve_streams(lab.world.listen(WORLD_IPV4, SKEWED_PORT), answer_later)
        old, new = served_by("sing-box-aes-256-gcm"), served_by("sing-box-2022-blake3-aes-128-gcm")
        self.taps = {
            TAPPED: Tap(lab, TAP_PORT, old.port),
            TAPPED_2022: Tap(lab, TAP_PORT_2022, new.port),
        }
        extra = [
            upstream("tapped", TAP_PORT, old.method, old.password),
            upstream("tapped-2022", TAP_PORT_2022, new.method, new.password),
            upstream("wrong", old.port, old.method, "another password"),
            upstream("wrong-2022", new.port, new.method, password_of(new.method, "mallory")),
            upstream("dead", 9, old.method, old.password),
            upstream("skewed", SKEWED_PORT, SKEWED_METHOD, password_of(SKEWED_METHOD)),
        ]
        rules = [
            f"DST-PORT,{TAPPED},tapped",
            f"DST-PORT,{TAPPED_2022},tapped-2022",
            f"DST-PORT,{WRONG},wrong",
            f"DST-PORT,{WRONG_2022},wrong-2022",
            f"DST-PORT,{DEAD},dead",
            f"DST-PORT,{SKEWED},skewed",
        ]
        text = configuration("\n".join(extra), rules)
        self.up = Up(lab, "--config", lab.settings("tunproxy.toml", text), name="up-shadowsocks")

    def close(self) -> None:
        self.up.stop()
        for tap in self.taps.values():
            tap.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ProxyLab() as lab:
        made = World(lab)
        try:
            yield made
        finally:
            made.close()


def say_and_hear(conn: socket.socket, words: bytes) -> tuple[bytes, bool]:
    """Say words and listen to the end; tell whether that was a reset, which may come while we speak."""
    heard = b""
    try:
        conn.sendall(words)
        while data := conn.recv(1 << 16):
            heard += data
    except ConnectionResetError:
        return heard, True
    return heard, False


@pytest.fixture
def healthy(world: World) -> Iterator[World]:
    yield world
    world.up.check()


def need(world: World, way: Way) -> None:
    if way.program not in world.logs and way.name not in world.logs:
        pytest.skip(f"not installed: {way.program}")


@pytest.mark.parametrize("way", every())
def test_megabytes_each_way_arrive_unaltered(healthy: World, way: Way) -> None:
    need(healthy, way)
    heard = hashlib.blake2b()
    left = len(DIGEST_OF_UP) + SIZE
    with healthy.lab.host.connect(TARGET, way.target, timeout=60) as client:
        client.sendall(SIZE.to_bytes(8, "big"))
        send_stream(client, 0)
        head = exactly(client, len(DIGEST_OF_UP))
        left -= len(head)
        while left and (data := client.recv(1 << 18)):
            heard.update(data)
            left -= len(data)
        assert (head, left) == (DIGEST_OF_UP, 0)
    assert heard.hexdigest() == digest(DOWN)


# ss-server closes both directions when one has ended
@pytest.mark.parametrize("way", every("sing-box", "mihomo"))
def test_half_closed_stream_is_answered(healthy: World, way: Way) -> None:
    need(healthy, way)
    words = block()[:MEGABYTE]
    with healthy.lab.host.connect(TARGET, way.target, timeout=30) as client:
        client.sendall(bytes(8) + words)
        client.shutdown(socket.SHUT_WR)
        assert until_end(client) == hashlib.blake2b(words).hexdigest().encode()


@pytest.mark.parametrize("way", every())
def test_who_speaks_first_is_heard_also_over_ipv6(healthy: World, way: Way) -> None:
    need(healthy, way)
    with healthy.lab.host.connect(TARGET6, way.target, timeout=30) as client:
        assert client.recv(100) == b"220 speak\r\n"
        client.sendall(b"hello")
        assert until_end(client) == b"221 you said hello"


@pytest.mark.parametrize("way", every())
def test_hundred_flows_at_once_arrive_unaltered(healthy: World, way: Way) -> None:
    need(healthy, way)
    before = healthy.up.descriptors()
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(healthy.lab.host.connect(TARGET, way.target, timeout=30))
            for _ in range(FLOWS)
        ]
        words = [block()[1009 * at : 30_000 + 2003 * at] for at in range(FLOWS)]
        for client, each in zip(clients, words, strict=True):
            client.sendall(len(each).to_bytes(8, "big") + each)
        for client, each in zip(clients, words, strict=True):
            assert exactly(client, 128) == hashlib.blake2b(each).hexdigest().encode()
    assert healthy.up.has_at_most(before)


def is_reset_on_hello(world: World, port: int) -> bool:
    """Connect, say hello, and tell whether that ends in a reset: the server may know what is wrong before."""
    try:
        with world.lab.host.connect(TARGET, port, timeout=30) as client:
            client.sendall(b"hello")
            return was_reset(client)
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("port", [WRONG, WRONG_2022], ids=["2017", "2022"])
def test_wrong_password_is_a_reset_and_a_line_that_says_so(world: World, port: int) -> None:
    assert is_reset_on_hello(world, port)
    name = "wrong" if port == WRONG else "wrong-2022"
    assert world.up.says(f"upstream {name}: "), world.up.lines()
    found = [line for line in world.up.lines() if f"upstream {name}: " in line]
    assert len(found) == 1, world.up.lines()
    assert "password, method or clock is wrong" in found[0]


def test_clock_that_differs_is_a_reset_and_a_line_that_says_so(world: World) -> None:
    assert is_reset_on_hello(world, SKEWED)
    assert world.up.says("upstream skewed: "), world.up.lines()
    found = [line for line in world.up.lines() if "upstream skewed: " in line]
    assert len(found) == 1, world.up.lines()
    assert re.search(r"clock differs by 9[0-5] s", found[0])  # some of it may be the answer's way


@pytest.mark.parametrize("port", [TAPPED, TAPPED_2022], ids=["2017", "2022"])
def test_nothing_on_the_wire_is_in_the_clear(healthy: World, port: int) -> None:
    tap = healthy.taps[port]
    with healthy.lab.host.connect(TARGET, port, timeout=30) as client:
        client.sendall(MARKED)
        assert exactly(client, len(MARKED)) == MARKED
    for stream in (tap.up, tap.down):
        assert len(stream) > len(MARKED)
        assert b"octet" not in stream
        assert socket.inet_aton(TARGET) + port.to_bytes(2, "big") not in stream


@pytest.mark.parametrize("port", [TAPPED, TAPPED_2022], ids=["2017", "2022"])
@pytest.mark.parametrize("at", [0, 20, 40, 60, 5_000, 15_000, 25_000])
def test_bit_flipped_on_the_way_ends_the_flow_with_a_reset_and_nothing_wrong(
    world: World, port: int, at: int
) -> None:
    tap = world.taps[port]
    tap.flip_down = at
    try:
        with world.lab.host.connect(TARGET, port, timeout=30) as client:
            heard, is_reset = say_and_hear(client, MARKED * 2)
    finally:
        tap.flip_down = -1
    assert is_reset
    assert (MARKED * 2).startswith(heard)
    assert len(heard) <= at
    told = "cannot be decrypted" if at < 50 else "its check fails"
    assert world.up.says(told), world.up.lines()


@pytest.mark.parametrize("port", [TAPPED, TAPPED_2022], ids=["2017", "2022"])
@pytest.mark.parametrize("at", [0, 20, 5_000])
def test_truncated_stream_is_a_reset_and_no_end(world: World, port: int, at: int) -> None:
    tap = world.taps[port]
    tap.cut_down = at
    try:
        with world.lab.host.connect(TARGET, port, timeout=30) as client:
            heard, is_reset = say_and_hear(client, MARKED)
    finally:
        tap.cut_down = -1
    assert is_reset
    assert MARKED.startswith(heard)
    told = "truncated" if at else "hung up without an answer"
    assert world.up.says(told), world.up.lines()


def test_no_server_there_is_refused_and_told(world: World) -> None:
    with pytest.raises(ConnectionRefusedError):
        world.lab.host.connect(TARGET, DEAD, timeout=30)
    assert world.up.says("upstream dead: cannot reach the proxy: connection refused"), world.up.lines()


@pytest.mark.needs("ss-server")
def test_server_that_dies_resets_its_flows_and_no_others(world: World) -> None:
    dying, other = served_by("ss-server-aes-256-gcm"), served_by("sing-box-aes-256-gcm")
    with (
        world.lab.host.connect(TARGET, other.target, timeout=30) as bystander,
        world.lab.host.connect(TARGET, dying.target, timeout=30) as client,
    ):
        client.sendall(SIZE.to_bytes(8, "big"))
        world.lab.kill_proxy(dying.name)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(bytes(500 * MEGABYTE))
        bystander.sendall((5).to_bytes(8, "big") + b"hello")
        assert exactly(bystander, 128) == hashlib.blake2b(b"hello").hexdigest().encode()
    world.up.check()
