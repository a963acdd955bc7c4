"""Compressed flows through ``tunproxy up`` to another end, whose codecs are the libraries' own.

    client ─▶ tunproxy ─ codec(socks5) ─▶ ``packed_peer``, which is the target as well

The rules send flows to 203.0.113.7 by zstd, and those to .8 by gzip.
"""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.interop.packed_peer import (
    BOMB,
    CORRUPT,
    CUT,
    DIGEST,
    ECHO,
    ENDS,
    OTHER,
    SOURCE,
    SOURCE_SIZE,
    WIRE,
    Peer,
)
from tests.interop.proxied import Up, exchange, serve_streams, until_end, was_reset
from tests.interop.proxies import ProxyLab
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4, eventually
from tests.unit.codecs.streams import json_lines, noise

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

TARGETS = {"zstd": "203.0.113.7", "gzip": "203.0.113.8"}
PORTS = {"zstd": 2101, "gzip": 2102}
COOKIE = b"POST / HTTP/1.1\r\nHost: a\r\nCookie: id=1\r\n\r\n"
EACH = pytest.mark.parametrize("name", ENDS)


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made, contextlib.ExitStack() as stack:
        for name, port in PORTS.items():
            listener = stack.enter_context(made.world.listen(WORLD_IPV4, port))
            serve_streams(listener, lambda conn, end=ENDS[name]: Peer(conn, end()).serve())  # type: ignore[misc]
        yield made


@pytest.fixture(scope="module")
def running(lab: ProxyLab) -> Iterator[Up]:
    lines = ['rules = ["IP-CIDR,203.0.113.8/32,gzip", "MATCH,zstd"]', '[dns]\nmode = "off"']
    for name, port in PORTS.items():
        lines += [f'[upstreams.{name}]\ntype = "socks5"\nserver = "{WORLD_IPV4}"', f"port = {port}"]
        lines.append(f'codec = "{name}"')
    with Up(lab, "--config", lab.settings("tunproxy.toml", "\n".join(lines))) as made:
        yield made
        made.check()


@pytest.fixture
def up(lab: ProxyLab, running: Up) -> Iterator[Up]:
    """The running one, through which other flows go on while the test runs."""
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(lab.host.connect(to, OTHER, timeout=30)) for to in TARGETS.values()]
        for other in others:
            assert exchange(other, b"before" * 1000) == b"before" * 1000
        yield running
        for other in others:
            assert exchange(other, b"after" * 1000) == b"after" * 1000


def asked(lab: ProxyLab, name: str, port: int, *words: bytes) -> bytes:
    """Say words and the end; return what is said then."""
    with lab.host.connect(TARGETS[name], port, timeout=60) as client:
        for each in words:
            client.sendall(each)
        client.shutdown(socket.SHUT_WR)
        return until_end(client)


@EACH
def test_octets_arrive_as_they_were_sent_also_after_a_half_close(lab: ProxyLab, up: Up, name: str) -> None:
    log = json_lines(1000)
    data = (log * 5 + noise(1 << 20)) * 4
    assert asked(lab, name, DIGEST, data) == hashlib.blake2b(data).hexdigest().encode()
    answer = asked(lab, name, SOURCE)
    assert len(answer) > SOURCE_SIZE * 0.9
    assert hashlib.blake2b(answer[:-128]).hexdigest().encode() == answer[-128:]


@EACH
def test_single_words_are_answered(lab: ProxyLab, up: Up, name: str) -> None:
    with lab.host.connect(TARGETS[name], ECHO, timeout=30) as client:
        for count in range(100):
            word = b"%d" % count
            assert exchange(client, word) == word


@EACH
def test_log_shrinks_noise_does_not_grow_and_cookies_are_left_alone(lab: ProxyLab, up: Up, name: str) -> None:
    log, random = json_lines(20_000), noise(4 << 20)
    clear, wire = map(int, asked(lab, name, WIRE, log).split())
    assert clear == len(log)
    assert wire < clear / 5
    clear, wire = map(int, asked(lab, name, WIRE, random).split())
    assert clear == len(random)
    assert wire < clear * 1.001
    clear, wire = map(int, asked(lab, name, WIRE, COOKIE, log).split())
    assert clear == len(COOKIE + log)
    assert wire > clear


@EACH
def test_many_flows_at_once_do_not_mix(lab: ProxyLab, up: Up, name: str) -> None:
    wrong: list[int] = []

    def one(number: int) -> None:
        data = b"%d " % number * 20_000 + noise(50_000, number)
        if asked(lab, name, DIGEST, data) != hashlib.blake2b(data).hexdigest().encode():
            wrong.append(number)

    before = up.descriptors()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert up.has_at_most(before)


@EACH
def test_client_that_reads_slowly_gets_all_that_little_unfolds_to(lab: ProxyLab, up: Up, name: str) -> None:
    with lab.host.connect(TARGETS[name], BOMB, timeout=60) as client:
        size = 0
        while data := client.recv(1 << 16):
            assert not data.strip(b"\0")
            size += len(data)
        assert size == 64 << 20


@EACH
@pytest.mark.parametrize(
    ("port", "why"), [(CORRUPT, "the {} stream is corrupt"), (CUT, "the {} stream is cut off")]
)
def test_spoiled_stream_is_a_reset_and_a_line_that_says_why(
    lab: ProxyLab, up: Up, name: str, port: int, why: str
) -> None:
    before = up.descriptors()
    with lab.host.connect(TARGETS[name], port, timeout=30) as client:
        assert exchange(client, b"word")[:4] == b"good"
        client.sendall(b"heard")
        assert was_reset(client)
    line = f"upstream {name}: its stream was spoiled: {why.format(name)}"
    assert eventually(lambda: line in up.output()), up.output()
    assert up.has_at_most(before)
