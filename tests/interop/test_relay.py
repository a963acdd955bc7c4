"""``tunproxy relay`` as people use it: with curl, with our own client, behind HAProxy, and under attack.

The picture is in ``proxies``; the relay is one of the proxies there, and runs as a user without rights.
"""

import base64
import hashlib
import itertools
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.interop.proxied import DIGEST, ECHO, NOBODY, WEB, Up, exchange, reset, serve, until_end, was_reset
from tests.interop.proxies import SILENT, TARGET, TARGET6, ProxyLab
from tests.interop.relays import (
    DENIED,
    LOGIN,
    PASSWORD,
    RELAY,
    SHADOW,
    SHADOW_METHOD,
    SHADOW_PASSWORD,
    USER,
    Relay,
    start_open_relay,
    start_relay,
)
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import HOST_IPV4, WORLD_IPV4, eventually
from tests.system.namespace import Namespace, Program
from tests.system.peers import MEGABYTE, block
from tunproxy.codecs.capsules import CapsuleReader, emit_datagram
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import client_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.codecs.shadowsocks_stream import ShadowsocksClient
from tunproxy.relay.passwords import make_hash

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("nginx", "curl", "openssl", "setpriv"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

UDP_ECHO = 7100
TOKEN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HTTP_URL = f"http://{LOGIN}@{WORLD_IPV4}:{RELAY}"
HTTPS_URL = f"https://{LOGIN}@{WORLD_IPV4}:{RELAY}"
SOCKS_URL = f"socks5h://{LOGIN}@{WORLD_IPV4}:{RELAY}"
URLS = {
    "http": f"{HTTP_URL}?udp=true",
    "https": f"{HTTPS_URL}?udp=true&ca_file=CERTIFICATE",
    "socks5": SOCKS_URL.replace("socks5h", "socks5"),
    "shadowsocks": f"ss://{SHADOW_METHOD}:{SHADOW_PASSWORD.replace('=', '%3D')}@{WORLD_IPV4}:{SHADOW}",
}
BALANCER = 2110  # where HAProxy listens
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made:
        for _ in serve(made):
            with datagram_socket(made.world, TARGET, UDP_ECHO) as echo:
                threading.Thread(target=echo_datagrams, args=(echo,), daemon=True).start()
                yield made


@pytest.fixture(scope="module")
def relay(lab: ProxyLab) -> Iterator[Relay]:
    made = start_relay(lab, make_hash("fish"))
    made.await_ready()
    yield made
    assert made.is_alive(), made.output()
    made.stop()
    output = made.output()
    assert "should not have happened" not in output, output
    assert "Traceback" not in output, output
    assert "exception" not in output, output
    for secret in (PASSWORD, TOKEN, SHADOW_PASSWORD):
        assert secret not in output


def datagram_socket(where: Namespace, address: str, port: int = 0) -> socket.socket:
    made = where.make_socket(kind=socket.SOCK_DGRAM)
    made.bind((address, port))
    return made


def echo_datagrams(sock: socket.socket) -> None:
    sock.settimeout(None)
    while True:
        try:
            data, sender = sock.recvfrom(65535)
            sock.sendto(data, sender)
        except OSError:
            return


def curl(lab: ProxyLab, proxy: str, url: str, *options: str) -> tuple[int, str, str]:
    tls = ("--proxy-cacert", str(lab.certificate))
    done = lab.run("curl", "-sS", "--max-time", "20", *tls, *options, "-p", "-x", proxy, url)
    return done.returncode, done.stdout, done.stderr


def connect(
    lab: ProxyLab, target: str = f"{TARGET}:{ECHO}", *fields: str, port: int = RELAY
) -> socket.socket:
    """Return a tunnel to target, or what the relay says where there is none."""
    sock = lab.host.connect(WORLD_IPV4, port, timeout=20)
    head = "".join(f"{field}\r\n" for field in (f"Proxy-Authorization: Basic {TOKEN}", *fields))
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{head}\r\n".encode())
    return sock


def head_of(sock: socket.socket) -> str:
    """Read up to the end of the head, and no further."""
    heard = b""
    while not heard.endswith(b"\r\n\r\n"):
        octet = sock.recv(1)
        if not octet:
            break
        heard += octet
    return heard.decode()


# curl


@pytest.mark.parametrize("proxy", [HTTP_URL, HTTPS_URL, SOCKS_URL], ids=["http", "https", "socks5"])
@pytest.mark.parametrize("target", [TARGET, f"[{TARGET6}]"], ids=["ipv4", "ipv6"])
def test_curl_reaches_its_target(lab: ProxyLab, relay: Relay, proxy: str, target: str) -> None:
    code, out, err = curl(lab, proxy, f"http://{target}:{WEB}/whence", "-g")
    assert (code, err) == (0, "")
    assert out.strip() not in ("", HOST_IPV4)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (f"{TARGET}:{NOBODY}", "502"),
        (f"{TARGET}:{DENIED}", "403"),
        ("127.0.0.1:8080", "403"),
        ("localhost:8080", "403"),  # which leads to loopback, whatever its name
        (f"{WORLD_IPV4}:{RELAY}", "403"),  # the relay itself
        ("10.0.0.1:80", "403"),
        ("denied.test:80", "403"),
        (f"{SILENT}:80", "403"),  # one of the relay's own addresses, and not among those it may reach
        ("nowhere.invalid:80", "502"),
    ],
)
def test_curl_is_told_the_truth(lab: ProxyLab, relay: Relay, target: str, told: str) -> None:
    code, _, err = curl(lab, HTTP_URL, f"http://{target}/")
    assert code in (7, 56)
    assert f"response {told}" in err


def test_socks_codes_tell_the_truth(lab: ProxyLab, relay: Relay) -> None:
    codes = {
        port: curl(lab, SOCKS_URL, f"http://{TARGET}:{port}/")[2].partition("(")[2].partition(")")[0]
        for port in (NOBODY, DENIED)
    }
    assert len(set(codes.values())) == 1  # curl's own code; the relay's stands in its words
    assert "(5)" in curl(lab, SOCKS_URL, f"http://{TARGET}:{NOBODY}/")[2]
    assert "(2)" in curl(lab, SOCKS_URL, f"http://{TARGET}:{DENIED}/")[2]


def test_wrong_password_is_refused_and_told_without_it(lab: ProxyLab, relay: Relay) -> None:
    wrong = HTTP_URL.replace("sw%3A", "mackerel")
    assert "response 407" in curl(lab, wrong, f"http://{TARGET}:{WEB}/204")[2]
    assert curl(lab, wrong.replace("http:", "socks5h:"), f"http://{TARGET}:{WEB}/204")[0] == 97
    assert relay.says("wrong user or password")
    assert "mackerel" not in relay.output()


def test_hashed_password_lets_in_up_to_the_limit_of_its_user(lab: ProxyLab, relay: Relay) -> None:
    token = base64.b64encode(b"jane:fish").decode()
    tunnels = []
    for number in range(4):
        sock = lab.host.connect(WORLD_IPV4, RELAY, timeout=20)
        login = f"Proxy-Authorization: basic {token}\r\nHost: x\r\n"
        sock.sendall(f"CONNECT {TARGET}:{ECHO} HTTP/1.1\r\n{login}\r\n".encode())
        assert head_of(sock).split()[1] == ("200" if number < 3 else "429")
        tunnels.append(sock)
    for sock in tunnels:
        sock.close()


# our own client


def is_reset_on_a_word(lab: ProxyLab) -> bool:
    """Tell whether who says something to nobody is reset, before it has said it or after."""
    try:
        with lab.host.connect(TARGET, NOBODY, timeout=20) as client:
            client.sendall(b"x")
            return was_reset(client)
    except ConnectionResetError:
        return True


def comes_to(relay: Relay, name: tuple[str, ...], least: float) -> bool:
    """Tell whether the relay comes to say so: its workers tell what they have counted by and by."""
    return eventually(lambda: relay.metrics().get(name, 0.0) >= least, 20)


@pytest.mark.parametrize("kind", ["http", "http+zstd", "https+gzip", "socks5", "shadowsocks"])
def test_up_through_the_relay(lab: ProxyLab, relay: Relay, kind: str) -> None:
    """Many flows at once, half-closed streams, both families, datagrams, and honest refusals."""
    name, _, codec = kind.partition("+")
    url = URLS[name].replace("CERTIFICATE", str(lab.certificate)) + (f"&codecs={codec}" if codec else "")
    user = USER if name != "shadowsocks" else "shadowsocks"
    words = [(b'{"level":"info","number":%d}\n' % number) * 2000 for number in range(100)]
    with Up(lab, "--upstream", url, name=f"up-{kind}") as up:
        before = relay.metrics()

        def ask(number: int) -> bytes:
            with lab.host.connect(TARGET, DIGEST, timeout=60) as client:
                client.sendall(words[number])
                client.shutdown(socket.SHUT_WR)
                return until_end(client)

        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(ask, range(100)))
        assert answers == [hashlib.blake2b(each).hexdigest().encode() for each in words]
        with lab.host.connect(TARGET6, ECHO, timeout=20) as client:
            client.settimeout(60)
            sender = threading.Thread(target=client.sendall, args=(block()[:MEGABYTE],))
            sender.start()
            heard = b""
            while len(heard) < MEGABYTE:
                data = client.recv(1 << 18)
                assert data
                heard += data
            sender.join()
            assert heard == block()[:MEGABYTE]
        with datagram_socket(lab.host, HOST_IPV4) as sock:
            for payload in (b"hello", block()[:1300]):
                sock.sendto(payload, (TARGET, UDP_ECHO))
                assert sock.recv(65535) == payload
        if name == "shadowsocks":  # which has no words for it
            assert is_reset_on_a_word(lab)
        else:
            with pytest.raises(ConnectionRefusedError):
                lab.host.connect(TARGET, NOBODY, timeout=20)
            up.check()
    flows = ("tunproxy_relay_flows_total", user)
    carried = ("tunproxy_relay_octets_total", "up", user)
    assert comes_to(relay, flows, before[flows] + 101)
    assert comes_to(relay, carried, before[carried] + sum(map(len, words)) + MEGABYTE)
    if codec:
        assert relay.says(f"opened ({codec})")


def test_codec_that_nobody_has_makes_an_ordinary_tunnel(lab: ProxyLab, relay: Relay) -> None:
    with connect(lab, f"{TARGET}:{ECHO}", "Tunnel-Codecs: lzma, rot13") as sock:
        head = head_of(sock)
        assert " 200 " in head
        assert "Tunnel-Codec" not in head
        assert exchange(sock, b"hello") == b"hello"


def test_stream_that_is_not_in_its_codec_is_reset(lab: ProxyLab, relay: Relay) -> None:
    with connect(lab, f"{TARGET}:{ECHO}", "Tunnel-Codecs: zstd") as sock:
        assert "Tunnel-Codec: zstd\r\n" in head_of(sock)
        sock.sendall(b"this is no frame of zstd" * 10)
        assert was_reset(sock)
    assert relay.says("stream is spoiled")


# ends and resets


def test_half_close_is_carried_both_ways(lab: ProxyLab, relay: Relay) -> None:
    words = block()[:MEGABYTE]
    with connect(lab, f"{TARGET}:{DIGEST}") as sock:
        assert " 200 " in head_of(sock)
        sock.sendall(words)
        sock.shutdown(socket.SHUT_WR)
        assert until_end(sock) == hashlib.blake2b(words).hexdigest().encode()
    with lab.world.listen(TARGET, 7200) as listener, connect(lab, f"{TARGET}:7200") as sock:
        target = listener.accept()[0]
        assert " 200 " in head_of(sock)
        target.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        sock.sendall(b"still here")
        assert target.recv(100) == b"still here"
        target.close()


def test_reset_is_carried_both_ways(lab: ProxyLab, relay: Relay) -> None:
    with lab.world.listen(TARGET, 7201) as listener:
        with connect(lab, f"{TARGET}:7201") as sock:
            target = listener.accept()[0]
            assert " 200 " in head_of(sock)
            reset(target)
            assert was_reset(sock)
        sock = connect(lab, f"{TARGET}:7201")
        target = listener.accept()[0]
        assert " 200 " in head_of(sock)
        reset(sock)
        target.settimeout(20)
        assert was_reset(target)
        target.close()


def test_slow_reader_holds_up_the_sender(lab: ProxyLab, relay: Relay) -> None:
    with lab.world.listen(TARGET, 7202) as listener, connect(lab, f"{TARGET}:7202") as sock:
        target = listener.accept()[0]
        target.settimeout(2)
        assert " 200 " in head_of(sock)
        sent = 0
        try:
            while sent < 256 * MEGABYTE:
                sent += target.send(block()[:MEGABYTE])
        except TimeoutError:
            pass
        assert sent < 256 * MEGABYTE
        left = sent
        sock.settimeout(20)
        while left:
            left -= len(sock.recv(1 << 18))
        target.close()


# attacks


def test_garbage_hurts_nobody(lab: ProxyLab, relay: Relay) -> None:
    chance = random.Random(5)
    openings = [
        b"", b"CONNECT ", b"\x05", b"\x05\x01\x02", b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n", b"\x04\x01\x00\x50", b"SSH-2.0-x\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 100,
    ]  # fmt: skip

    def attack(number: int) -> None:
        data = openings[number % len(openings)] + chance.randbytes(number * 7 % 900)
        with lab.host.connect(WORLD_IPV4, SHADOW if number % 5 == 0 else RELAY, timeout=20) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                until_end(sock)
            except OSError:
                pass

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(attack, range(300)))
    assert curl(lab, HTTP_URL, f"http://{TARGET}:{WEB}/204")[0] == 0


def test_head_without_end_is_refused(lab: ProxyLab, relay: Relay) -> None:
    with lab.host.connect(WORLD_IPV4, RELAY, timeout=20) as sock:
        sock.sendall(b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert " 431 " in head_of(sock)


def test_clients_that_take_too_long_are_let_go(lab: ProxyLab) -> None:
    relay = start_open_relay(lab, 2130, handshake=1)
    relay.await_ready()

    def dawdle(begin: bytes) -> float:
        began = time.monotonic()
        with lab.host.connect(WORLD_IPV4, 2130, timeout=20) as sock:
            sock.sendall(begin)
            try:
                assert until_end(sock) == b""
            except ConnectionResetError:
                pass
            return time.monotonic() - began

    with ThreadPoolExecutor(4) as pool:
        took = list(pool.map(dawdle, [b"", b"CONNECT a:1 HT", b"\x05", b"\x05\x02\x00"]))
    assert min(took) > 0.5
    relay.stop()


# datagrams


def test_connect_udp_carries_datagrams(lab: ProxyLab, relay: Relay) -> None:
    with lab.host.connect(WORLD_IPV4, RELAY, timeout=20) as sock:
        fields = "Host: relay", "Connection: Upgrade", "Upgrade: connect-udp", "Capsule-Protocol: ?1"
        lines = (f"GET /.well-known/masque/udp/{TARGET}/{UDP_ECHO}/ HTTP/1.1", *fields)
        login = f"Proxy-Authorization: Basic {TOKEN}"
        sock.sendall("\r\n".join([*lines, login, "", ""]).encode())
        assert head_of(sock).startswith("HTTP/1.1 101 ")
        sent = [b"", b"hello", block()[:1200], block()[:9000]]
        reader, heard = CapsuleReader(), []
        for payload in sent:
            sock.sendall(emit_datagram(payload))
            while not (found := reader.take(sock.recv(65536))):
                pass
            heard += found
        assert heard == sent


def test_socks_associate_carries_datagrams(lab: ProxyLab, relay: Relay) -> None:
    with lab.host.connect(WORLD_IPV4, RELAY, timeout=20) as control:
        user, password = USER.encode(), PASSWORD.encode()
        control.sendall(b"\x05\x01\x02")
        assert control.recv(2) == b"\x05\x02"
        control.sendall(bytes((1, len(user))) + user + bytes((len(password),)) + password)
        assert control.recv(2) == b"\x01\x00"
        control.sendall(b"\x05\x03\x00\x01" + bytes(6))
        answer = control.recv(10)
        assert answer[:4] == b"\x05\x00\x00\x01"
        address, port = socket.inet_ntoa(answer[4:8]), int.from_bytes(answer[8:], "big")
        header = b"\x00\x00\x00\x01" + socket.inet_aton(TARGET) + UDP_ECHO.to_bytes(2, "big")
        loopback = b"\x00\x00\x00\x01" + socket.inet_aton("127.0.0.1") + UDP_ECHO.to_bytes(2, "big")
        with datagram_socket(lab.host, HOST_IPV4) as sock:
            sock.settimeout(20)
            sock.sendto(loopback + b"nobody may", (address, port))
            for payload in (b"hello", block()[:1400]):
                sock.sendto(header + payload, (address, port))
                assert sock.recvfrom(65535)[0] == header + payload


def test_shadowsocks_carries_streams_and_datagrams(lab: ProxyLab, relay: Relay) -> None:
    keys = client_keys(SHADOW_METHOD, SHADOW_PASSWORD)
    words = block()[:MEGABYTE]
    codec = ShadowsocksClient(keys, emit_address(socket.inet_aton(TARGET), DIGEST))
    with lab.host.connect(WORLD_IPV4, SHADOW, timeout=20) as sock:
        first = codec.encode(words)
        sock.sendall(first)
        sock.shutdown(socket.SHUT_WR)
        heard = codec.decode(until_end(sock)) + codec.decode_end()
    assert heard == hashlib.blake2b(words).hexdigest().encode()
    with lab.host.connect(WORLD_IPV4, SHADOW, timeout=20) as sock:  # the same once more, as a thief would
        sock.sendall(first)
        sock.shutdown(socket.SHUT_WR)
        try:
            assert until_end(sock) == b""
        except ConnectionResetError:
            pass
    assert relay.says("replayed session")
    client = PacketClient(keys)
    target = emit_address(socket.inet_aton(TARGET), UDP_ECHO)
    with datagram_socket(lab.host, HOST_IPV4) as sock:
        sock.settimeout(20)
        for payload in (b"hello", block()[:1300]):
            sock.sendto(client.seal(target, payload), (WORLD_IPV4, SHADOW))
            assert client.unseal(sock.recvfrom(65535)[0]) == target + payload


# processes


def test_worker_that_dies_is_replaced_and_counts_go_on(lab: ProxyLab, relay: Relay) -> None:
    assert curl(lab, HTTP_URL, f"http://{TARGET}:{WEB}/204")[0] == 0
    assert comes_to(relay, ("tunproxy_relay_connections_total",), 1)
    assert comes_to(relay, ("tunproxy_relay_outcomes_total", "opened"), 1)
    before = relay.metrics()
    workers = relay.children()
    os.kill(workers[-1], signal.SIGKILL)
    assert relay.says("by SIGKILL: another one takes its place")
    starts = before["tunproxy_relay_worker_starts_total",]
    assert eventually(lambda: relay.metrics()["tunproxy_relay_worker_starts_total",] > starts, 20)
    for _ in range(8):
        assert curl(lab, HTTP_URL, f"http://{TARGET}:{WEB}/204")[0] == 0
    connections = ("tunproxy_relay_connections_total",)
    assert comes_to(relay, connections, before[connections] + 8)


def haproxy_before(ports: Sequence[int]) -> str:
    """Return what docs/operations.md tells people to give HAProxy, with our places and a log."""
    following = OPERATIONS.read_text().partition("\n    defaults\n")[2].splitlines()
    lines = ["defaults", *itertools.takewhile(lambda line: not line or line.startswith("    "), following)]
    text = "\n".join(line.removeprefix("    ") for line in lines) + "\n"
    changes = {
        f"relay{at} 192.0.2.1{at}:8443": f"relay{port} {WORLD_IPV4}:{port}"
        for at, port in enumerate(ports, 1)
    }
    changes |= {"bind :8443": f"bind {WORLD_IPV4}:{BALANCER}", "    mode tcp": "    mode tcp\n    log global"}
    for told, ours in changes.items():
        assert text.count(told) == 1, (told, text)
        text = text.replace(told, ours)
    return f"global\n    log stderr format raw local0\n{text}"


@pytest.mark.needs("haproxy", "ss")
def test_haproxy_in_front_of_three_one_killed_under_load(lab: ProxyLab) -> None:
    """Flows of the other two go on, and new ones find their way; then one drains, and the last is stopped."""
    ports = (2111, 2112, 2113)
    relays = [start_open_relay(lab, port) for port in ports]
    for each in relays:
        each.await_ready()
    path = lab.settings("haproxy.cfg", haproxy_before(ports))
    balancer = lab.world.spawn("haproxy", "-f", path, log=lab.scratch / "haproxy.log")
    try:
        assert eventually(lambda: _works(lab), 20), balancer.log.read_text()
        tunnels = [connect(lab, port=BALANCER) for _ in range(30)]
        assert all(" 200 " in head_of(each) for each in tunnels)
        doomed = _flows_of(lab, relays[0])
        assert 0 < doomed < 30
        ended = threading.Event()
        results: list[tuple[float, bool]] = []  # when it began, whether it worked

        def load() -> None:
            while not ended.is_set():
                results.append((time.monotonic(), _works(lab)))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        relays[0].kill()
        alive = [each for each in tunnels if _echoes(each)]
        assert len(alive) == 30 - doomed  # those that were open there, some ten, went down with it
        assert _is_down(balancer, 2111)
        noticed, seen = time.monotonic(), len(results)
        assert eventually(lambda: len(results) > seen + 40, 30)
        ended.set()
        for thread in threads:
            thread.join(30)
        assert all(works for began, works in results if began > noticed)
        _drain(lab, relays[1], alive, balancer)
        assert _works(lab)
    finally:
        for each in relays:
            each.stop()
        balancer.stop()


def _drain(lab: ProxyLab, relay: Relay, tunnels: list[socket.socket], balancer: Program) -> None:
    """SIGTERM: nobody is let in, flows go on to their end, and then it ends."""
    relay.signal(signal.SIGTERM)
    assert relay.says("nobody is let in any more")

    def is_closed() -> bool:
        try:
            lab.host.connect(WORLD_IPV4, relay.port, timeout=5).close()
        except OSError:
            return True
        return False

    assert eventually(is_closed, 20)
    assert _is_down(balancer, relay.port)
    assert all(_works(lab) for _ in range(20))
    assert all(_echoes(each) for each in tunnels)
    assert relay.is_alive()
    for each in tunnels:
        each.close()
    assert relay.ended(20) == 0


def _flows_of(lab: ProxyLab, relay: Relay) -> int:
    """Return how many connections to targets a relay has."""
    found = lab.world.run("ss", "-tnpH", "state", "established", "dport", "=", f":{ECHO}").stdout.splitlines()
    pids = {f"pid={pid}," for pid in relay.children()}
    return sum(any(pid in line for pid in pids) for line in found)


def _is_down(balancer: Program, port: int) -> bool:
    """Return whether HAProxy notices; until then it goes on sending clients to who has the fewest: nobody."""
    return eventually(lambda: f"relay{port} is DOWN" in balancer.log.read_text(), 30)


def _echoes(sock: socket.socket) -> bool:
    try:
        return exchange(sock, b"hello") == b"hello"
    except OSError:
        return False


def _works(lab: ProxyLab) -> bool:
    try:
        with connect(lab, port=BALANCER) as sock:
            return " 200 " in head_of(sock) and _echoes(sock)
    except OSError:
        return False


def test_second_sigterm_ends_at_once(lab: ProxyLab) -> None:
    relay = start_open_relay(lab, 2120)
    relay.await_ready()
    with connect(lab, port=2120) as sock:
        assert " 200 " in head_of(sock)
        relay.signal(signal.SIGTERM)
        assert relay.says("nobody is let in any more")
        assert _echoes(sock)
        relay.signal(signal.SIGTERM)
        assert relay.ended(20) == 0
        assert was_reset(sock)
    assert "1 flows did not end in time" in relay.output()
