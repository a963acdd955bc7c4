"""``tunproxy up`` through TLS that others speak: stunnel, openssl's s_server, sing-box.

The picture is in ``tls_servers``. Each upstream has a port, by which rules send flows to it.
"""

import hashlib
import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests.interop.proxied import BANNER, Up, about, echo, exchange, serve, serve_streams, until_end
from tests.interop.proxies import TARGET, ProxyLab
from tests.interop.shadowsocks import Tap
from tests.interop.tls_servers import DOWNLOAD, FIRST_TARGET, OUR_PASSWORD, PORTS, STRANGER, start_servers
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import TUNPROXY, WORLD_IPV4, eventually
from tests.system.peers import MEGABYTE, block
from tests.unit.rulesets.programs import find_sing_box

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("nginx", "stunnel4", "openssl", "microsocks"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

SIZE = 20 * MEGABYTE
TUN = "tls0"
TAP_PORT = 4490
MARKED = b"no octet of this may be seen by anybody on the way. " * 400
WRONG_PIN = "ab" * 32

CA = 'ca-file = "ca.pem"'
OURS = f'{CA}, certificate-file = "ours.pem", key-file = "ours.key", key-password = {{ file = "word.txt" }}'
PIN = hashlib.sha256(STRANGER.public_key).hexdigest()
# by name: type, port of the server, what is in tls
UPSTREAMS = {
    "echo": ("tls", PORTS["echo"], CA),
    "digest": ("tls", PORTS["digest"], CA),
    "download": ("tls", PORTS["download"], CA),
    "banner": ("tls", PORTS["banner"], f'{CA}, server-name = "proxy.lab.test"'),
    "old": ("tls", PORTS["old"], CA),
    "s_server": ("tls", PORTS["s_server"], CA),
    "pinned": ("tls", PORTS["stranger"], f'pin = ["{WRONG_PIN}", "{PIN}"]'),
    "choosy": ("tls", PORTS["choosy"], OURS),
    "sing-box": ("https", PORTS["sing-box"], OURS),
    "socks": ("socks5", PORTS["socks"], CA),
    "socks-too": ("socks5", PORTS["socks"], CA),
    "tapped": ("tls", TAP_PORT, CA),
    "plain": ("tls", BANNER, f"{CA}, allow-plain = true"),
    "expired": ("tls", PORTS["expired"], CA),
    "misnamed": ("tls", PORTS["other"], CA),
    "unknown": ("tls", PORTS["echo"], ""),
    "mispinned": ("tls", PORTS["stranger"], f'pin = "{WRONG_PIN}"'),
    "too-old": ("tls", PORTS["old"], f'{CA}, min-version = "1.3"'),
    "no-tls": ("tls", BANNER, CA),
    "no-certificate": ("https", PORTS["sing-box"], CA),
}
TARGETS = {name: FIRST_TARGET + at for at, name in enumerate([*UPSTREAMS, "row", "late"])}
REFUSED = {
    "expired": "its certificate cannot be trusted: certificate has expired",
    "misnamed": "IP address mismatch, certificate is not valid for '198.51.100.1'",
    "unknown": r"unable to get local issuer certificate \(pin or ca_file says what is trusted\)",
    "mispinned": f"it is sha256:{hashlib.sha256(STRANGER.der).hexdigest()}, with the key sha256//",
    "too-old": "no version of TLS that we take",
    "no-tls": "it speaks no TLS",
    "no-certificate": "want(s)? a certificate of ours",
}
NEEDS_SING_BOX = pytest.mark.skipif(find_sing_box() is None, reason="not installed: sing-box")


def stream() -> bytes:
    return (block() * 2)[7919 : 7919 + SIZE]


def download(conn: socket.socket) -> None:
    """Hear one octet, then send a large stream, and end.

    Not once the client has ended: stunnel 5.68 loses what it has not read of a target that ends after that.
    """
    conn.recv(1)
    conn.sendall(stream())


def configuration(lab: ProxyLab, *more: str) -> str:
    """Write it; each of more is an upstream besides the others, as above. Return its path."""
    rules = [f'  "DST-PORT,{port},{name}",' for name, port in TARGETS.items() if name != "late" or more]
    lines = ['default = "DIRECT"', "rules = [", *rules, "]", "[dns]", 'mode = "off"']
    lines += ["[groups.row]", 'type = "relay"', 'members = ["socks", "socks-too"]']
    for name, (kind, port, tls) in UPSTREAMS.items():
        lines += [f"[upstreams.{name}]", f'type = "{kind}"', f'server = "{WORLD_IPV4}"', f"port = {port}"]
        lines += [f"tls = {{ {tls} }}"]
    return lab.settings("tunproxy.toml", "\n".join([*lines, *more, ""]))


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made:
        (made.scratch / "word.txt").write_text(f"{OUR_PASSWORD}\n")
        (made.scratch / "word.txt").chmod(0o600)
        made.run_proxy("microsocks")
        for _ in serve(made):
            serve_streams(made.world.listen(TARGET, DOWNLOAD), download)
            serve_streams(made.world.listen(WORLD_IPV4, BANNER), _speak)
            started = start_servers(made)
            yield made
            for program in started:
                program.stop()


def _speak(conn: socket.socket) -> None:
    """Say what no TLS server says, whoever asks; and answer."""
    conn.sendall(b"220 speak\r\n")
    conn.sendall(b"221 you said " + conn.recv(100))


@pytest.fixture(scope="module")
def up(lab: ProxyLab) -> Iterator[Up]:
    with Up(lab, "--tun", TUN, "--config", configuration(lab)) as made:
        yield made
        made.check()


@pytest.fixture(scope="module")
def only_tap(lab: ProxyLab) -> Iterator[Tap]:
    made = Tap(lab, TAP_PORT, PORTS["echo"])
    yield made
    made.close()


@pytest.fixture
def tap(only_tap: Tap) -> Tap:
    """What lies between tunproxy and the echo's server, and does nothing unless told to."""
    only_tap.flip_up = only_tap.flip_down = only_tap.cut_down = -1
    only_tap.up.clear()
    only_tap.down.clear()
    return only_tap


def reach(lab: ProxyLab, name: str, timeout: float = 20) -> socket.socket:
    """Connect to what is behind an upstream."""
    return lab.host.connect(TARGET, TARGETS[name], timeout=timeout)


def test_twenty_megabytes_go_up_and_half_closed_streams_are_answered(lab: ProxyLab, up: Up) -> None:
    with reach(lab, "digest") as client:
        client.sendall(stream())
        client.shutdown(socket.SHUT_WR)
        assert until_end(client) == hashlib.blake2b(stream()).hexdigest().encode()


def test_twenty_megabytes_come_down_and_end(lab: ProxyLab, up: Up) -> None:
    with reach(lab, "download") as client:
        client.sendall(b"!")
        heard = until_end(client)
    assert len(heard) == SIZE
    assert hashlib.blake2b(heard).digest() == hashlib.blake2b(stream()).digest()


def test_who_speaks_first_is_heard(lab: ProxyLab, up: Up) -> None:
    with reach(lab, "banner") as client:
        assert client.recv(100) == b"220 speak\r\n"
        client.sendall(b"hello")
        assert until_end(client) == b"221 you said hello"


@pytest.mark.parametrize("name", ["pinned", "choosy", "old"])
def test_server_that_is_trusted_is_used(lab: ProxyLab, up: Up, name: str) -> None:
    """For its key alone; with a certificate of ours; in an old version."""
    with reach(lab, name) as client:
        assert exchange(client, b"hello" * 10_000) == b"hello" * 10_000


@pytest.mark.parametrize("name", ["socks", "row", pytest.param("sing-box", marks=NEEDS_SING_BOX)])
def test_proxy_that_is_trusted_is_used(lab: ProxyLab, up: Up, name: str) -> None:
    """By itself; twice in a row; with a certificate of ours."""
    with lab.world.listen(TARGET, TARGETS[name]) as listener:
        serve_streams(listener, echo)
        with reach(lab, name) as client:
            assert exchange(client, b"hello" * 10_000) == b"hello" * 10_000


def test_openssl_server_is_used(lab: ProxyLab, up: Up) -> None:
    with reach(lab, "s_server") as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"olleh\n"


def test_fifty_flows_at_once_arrive_unaltered(lab: ProxyLab, up: Up) -> None:
    before = up.descriptors()
    clients = [reach(lab, "echo") for _ in range(50)]
    words = [block()[1009 * at : 1009 * at + 50_000] for at in range(50)]
    for client, word in zip(clients, words, strict=True):
        client.sendall(word)
        client.shutdown(socket.SHUT_WR)
    assert [until_end(client) == word for client, word in zip(clients, words, strict=True)] == [True] * 50
    for client in clients:
        client.close()
    assert up.has_at_most(before)


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=NEEDS_SING_BOX if "no-cert" in each else ()) for each in REFUSED]
)
def test_server_that_is_not_trusted_is_refused_and_told_once(lab: ProxyLab, up: Up, name: str) -> None:
    before = up.descriptors()
    for _ in range(10):
        with pytest.raises(ConnectionRefusedError):
            reach(lab, name)
    assert eventually(lambda: about(up.lines(), TARGETS[name]), 20), up.lines()
    told = about(up.lines(), TARGETS[name])
    assert all(f"upstream {name}: " in line and re.search(REFUSED[name], line) for line in told), told
    # one reason, or both of those that a server that wants a certificate may bring about: see proxy.py
    assert 1 <= len(told) <= (2 if name == "no-certificate" else 1), told
    assert up.has_at_most(before)


def test_flow_that_was_refused_says_why(lab: ProxyLab, up: Up) -> None:
    with pytest.raises(ConnectionRefusedError):
        reach(lab, "expired")
    ask = (*TUNPROXY, "flows", "--tun", TUN, "--closed", "--json")
    rows = json.loads(lab.run(*ask).stdout)["flows"]
    row = next(each for each in rows if each["upstream"] == "expired")
    assert row["reason"] == "not reached: connection refused"
    done = lab.run(*TUNPROXY, "explain", "--tun", TUN, "--flow", str(row["number"]))
    assert "certificate has expired (the server needs a new one" in done.stdout, done


def test_server_without_tls_is_used_plainly_where_that_is_allowed(lab: ProxyLab, up: Up) -> None:
    with reach(lab, "plain") as client:
        assert client.recv(100) == b"220 speak\r\n"
        client.sendall(b"hello")
        assert until_end(client) == b"221 you said hello"
    assert up.says("its flows go in the clear"), up.output()
    lines = [
        line for line in up.output().splitlines() if "upstream plain" in line or "upstream 'plain'" in line
    ]
    assert any("allow-plain: where the server seems to speak no TLS" in line for line in lines), up.output()
    assert any("its flows go in the clear" in line for line in lines)


def test_wire_carries_nothing_plain(lab: ProxyLab, up: Up, tap: Tap) -> None:
    with reach(lab, "tapped") as client:
        assert exchange(client, MARKED) == MARKED
    for heard in (tap.up, tap.down):
        assert len(heard) > len(MARKED)
        for at in range(200):
            assert MARKED[at : at + 12] not in heard


@pytest.mark.parametrize("at", [60, 900, 1500, 2500, 20_000, 150_000])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_flipped_bit_ends_the_flow_and_brings_no_wrong_octet(
    lab: ProxyLab, up: Up, tap: Tap, direction: str, at: int
) -> None:
    setattr(tap, f"flip_{direction}", at)
    words, heard = block()[:200_000], b""
    ends = (ConnectionResetError, ConnectionRefusedError, BrokenPipeError)
    with pytest.raises(ends), reach(lab, "tapped") as client:  # noqa: PT012
        client.sendall(words)
        while data := client.recv(65536):
            heard += data
        pytest.fail(f"ended as if it were whole, after {len(heard)} octets")
    assert words.startswith(heard)
    assert len(heard) < len(words)


def test_stream_that_is_cut_off_is_no_end(lab: ProxyLab, up: Up, tap: Tap) -> None:
    """The connection ends in order (FIN), but TLS has not said so."""
    tap.cut_down = 100_000
    words, heard = block()[:200_000], b""
    with pytest.raises(ConnectionResetError), reach(lab, "tapped") as client:  # noqa: PT012
        client.sendall(words)  # what comes back may be cut off while we speak
        while data := client.recv(65536):
            heard += data
    assert words.startswith(heard)
    assert up.says("without TLS's own end"), up.lines()


@NEEDS_SING_BOX
def test_proxy_that_wants_a_certificate_gets_it_after_a_reload(lab: ProxyLab, up: Up) -> None:
    """The worker has given up its rights by then: it could not read the key by itself."""
    table = [f'[upstreams.late]\ntype = "https"\nserver = "{WORLD_IPV4}"\nport = {PORTS["sing-box"]}']
    configuration(lab, *table, f"tls = {{ {OURS} }}")
    assert up.says("policy 2 is in force"), up.lines()
    with lab.world.listen(TARGET, TARGETS["late"]) as listener:
        serve_streams(listener, echo)
        with reach(lab, "late") as client:
            assert exchange(client, b"hello") == b"hello"
