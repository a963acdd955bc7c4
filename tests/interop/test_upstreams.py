"""Upstreams against proxies that people run, in a namespace of their own, without a packet path.

192.0.2.10, 2001:db8::10    proxies: microsocks, dante, sing-box
192.0.2.7, 2001:db8::7      what they are asked for: an echo over TCP and UDP, a web server, nobody
"""

import asyncio
import contextlib
import importlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.system.conftest import can_make_namespaces
from tests.system.namespace import Namespace, Program
from tests.unit.rulesets.programs import find_sing_box
from tunproxy.errors import UpstreamError
from tunproxy.flow.verdict import FlowInfo
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import Dialer, Opened, OpenError, OpenUpstream, Upstream
from tunproxy.upstream.datagrams import DatagramUpstream, DatagramWay
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.group import bind_groups
from tunproxy.upstream.health import Health
from tunproxy.upstream.history import DEAD, WELL
from tunproxy.upstream.opening import AsyncOpener
from tunproxy.upstream.probe import explore, fetch
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.upstream.types import UpstreamType, build_from_url

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(not can_make_namespaces(), reason="needs root")]

T = TypeVar("T")
PROXY, PROXY6 = "192.0.2.10", "2001:db8::10"
TARGET, TARGET6 = "192.0.2.7", "2001:db8::7"
ECHO, WEB, NOBODY = 7000, 8000, 9
PLAIN, LOGIN, DANTE, MIXED, TLS = 1080, 1081, 1082, 1083, 1084

DANTE_CONF = f"""
logoutput: stderr
internal: {PROXY} port = {DANTE}
external.protocol: ipv4 ipv6
external: {PROXY}
external: {PROXY6}
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: root
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 command: connect udpassociate }}
socks pass {{ from: 0/0 to: 0/0 command: udpreply }}
"""


@dataclass
class Place:
    """The namespace, and who runs in it."""

    namespace: Namespace
    scratch: Path
    types: dict[str, UpstreamType]
    certificate: Path

    def upstream(self, url: str, name: str = "upstream") -> Upstream:
        return build_from_url(url, self.types, name)

    def run(self, what: Callable[[Dialer], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine whose sockets are made in the namespace."""

        async def main() -> T:
            dialer = AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
            return await asyncio.wait_for(what(dialer), 40)

        with self.namespace.entered():
            return asyncio.run(main())

    def start(self, name: str, *argv: str, port: int) -> Program:
        program = self.namespace.spawn(*argv, log=self.scratch / f"{name}.log")
        until = time.monotonic() + 20
        while True:
            try:
                self.namespace.connect(PROXY, port, timeout=1).close()
                return program
            except OSError:
                if program.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{name}: {program.log.read_text(errors='replace')}") from None
                time.sleep(0.02)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    scratch = tmp_path_factory.mktemp("upstreams")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=lab", "-addext", f"subjectAltName=IP:{PROXY}",
         "-keyout", str(scratch / "key.pem"), "-out", str(scratch / "certificate.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    plugins = Plugins()
    for name in ("socks", "http", "groups"):
        assert plugins.register(importlib.import_module(f"tunproxy_plugins.{name}"), name)
    namespace = Namespace("upstreams")
    try:
        for address in (PROXY, TARGET):
            namespace.ip("address", "add", f"{address}/32", "dev", "lo")
        for address in (PROXY6, TARGET6):
            namespace.ip("address", "add", f"{address}/128", "dev", "lo", "nodad")
        with contextlib.ExitStack() as stack:
            for address in (TARGET, TARGET6):
                serve_streams(stack.enter_context(namespace.listen(address, ECHO)), echo)
                serve_streams(stack.enter_context(namespace.listen(address, WEB)), answer_web)
                serve_datagrams(stack.enter_context(namespace.datagram(address, ECHO)))
            yield Place(namespace, scratch, plugins.upstream_types(), scratch / "certificate.pem")
    finally:
        namespace.delete()


def serve_streams(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    listener.settimeout(None)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                conn = listener.accept()[0]
                conn.settimeout(20)
                threading.Thread(target=handle, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def echo(conn: socket.socket) -> None:
    with conn, contextlib.suppress(OSError):
        while data := conn.recv(65536):
            conn.sendall(data)


def answer_web(conn: socket.socket) -> None:
    with conn, contextlib.suppress(OSError):
        conn.recv(4096)
        conn.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


def serve_datagrams(sock: socket.socket) -> None:
    sock.settimeout(None)

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                data, client = sock.recvfrom(65536)
                sock.sendto(data, client)

    threading.Thread(target=answer, daemon=True).start()


def microsocks(place: Place) -> Iterator[Program]:
    return running(place, "microsocks", "microsocks", "-i", PROXY, "-p", str(PLAIN), port=PLAIN)


def running(place: Place, name: str, *argv: str, port: int) -> Iterator[Program]:
    program = place.start(name, *argv, port=port)
    yield program
    program.stop()


@pytest.fixture(scope="module")
def plain(place: Place) -> Iterator[Program]:
    yield from microsocks(place)


@pytest.fixture(scope="module")
def login(place: Place) -> Iterator[Program]:
    argv = ("-i", PROXY, "-p", str(LOGIN), "-u", "joe", "-P", "swordfish")
    yield from running(place, "microsocks-login", "microsocks", *argv, port=LOGIN)


@pytest.fixture(scope="module")
def dante(place: Place) -> Iterator[Program]:
    settings = place.scratch / "danted.conf"
    settings.write_text(DANTE_CONF)
    yield from running(place, "dante", "danted", "-f", str(settings), port=DANTE)


@pytest.fixture(scope="module")
def sing_box(place: Place) -> Iterator[Program]:
    program = find_sing_box()
    if program is None:
        pytest.skip("not installed: sing-box")
    tls = {
        "enabled": True,
        "certificate_path": str(place.certificate),
        "key_path": str(place.scratch / "key.pem"),
    }
    inbounds = [
        {"type": "mixed", "listen": PROXY, "listen_port": MIXED},
        {"type": "http", "listen": PROXY, "listen_port": TLS, "tls": tls},
    ]
    settings = place.scratch / "sing-box.json"
    settings.write_text(json.dumps({"inbounds": inbounds, "outbounds": [{"type": "direct"}]}))
    yield from running(place, "sing-box", program, "run", "-c", str(settings), port=TLS)


NEEDS_MICROSOCKS = pytest.mark.needs("microsocks", "openssl")
NEEDS_DANTE = pytest.mark.needs("danted", "openssl")
NEEDS_SING_BOX = pytest.mark.needs("openssl")

# every proxy, the fixture that runs it, and its URL
PROXIES = [
    pytest.param("plain", f"socks5://{PROXY}:{PLAIN}", marks=NEEDS_MICROSOCKS, id="microsocks"),
    pytest.param(
        "login", f"socks5://joe:swordfish@{PROXY}:{LOGIN}", marks=NEEDS_MICROSOCKS, id="microsocks-login"
    ),
    pytest.param("dante", f"socks5://{PROXY}:{DANTE}", marks=NEEDS_DANTE, id="dante"),
    pytest.param("sing_box", f"socks5://{PROXY}:{MIXED}", marks=NEEDS_SING_BOX, id="sing-box-socks5"),
    pytest.param("sing_box", f"http://{PROXY}:{MIXED}", marks=NEEDS_SING_BOX, id="sing-box-http"),
    pytest.param("sing_box", f"https://{PROXY}:{TLS}?ca_file=CA", marks=NEEDS_SING_BOX, id="sing-box-https"),
]
SOCKS4 = [
    pytest.param("dante", f"socks4://{PROXY}:{DANTE}", marks=NEEDS_DANTE, id="dante-socks4"),
    pytest.param("sing_box", f"socks4a://{PROXY}:{MIXED}", marks=NEEDS_SING_BOX, id="sing-box-socks4a"),
]
WITH_UDP = [PROXIES[2], PROXIES[3]]


@pytest.fixture
def upstream(request: pytest.FixtureRequest, place: Place) -> Upstream:
    fixture, url = request.param
    request.getfixturevalue(fixture)
    return place.upstream(url.replace("CA", str(place.certificate)))


def every(proxies: list[Any]) -> pytest.MarkDecorator:
    params = [pytest.param(param.values, marks=param.marks, id=param.id) for param in proxies]
    return pytest.mark.parametrize("upstream", params, indirect=True)


def flow(target: str, port: int, protocol: str = "tcp", host: str = "") -> FlowInfo:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    return FlowInfo(protocol, bytes([10, 0, 0, 2]), 40000, socket.inet_pton(family, target), port, host)


async def echoed(upstream: Upstream, info: FlowInfo, dialer: Dialer, data: bytes) -> bytes:
    """Send data through upstream to an echo; return what comes back."""
    opener = upstream.verdict_for(info).opener
    assert isinstance(opener, OpenUpstream)
    way = await opener.open(info, dialer)
    assert isinstance(way, Opened)
    loop, codec = asyncio.get_running_loop(), way.codec
    words = data if codec is None else codec.encode(data) + codec.flush()
    sending = asyncio.ensure_future(loop.sock_sendall(way.sock, words))
    heard = way.rest
    try:
        while len(heard) < len(data):
            piece = await loop.sock_recv(way.sock, 65536)
            assert piece, f"the stream ended after {len(heard)} octets"
            heard += piece if codec is None else codec.decode(piece)
        await sending
        return heard
    finally:
        sending.cancel()
        await asyncio.sleep(0)
        way.sock.close()


@every(PROXIES)
@pytest.mark.parametrize("target", [TARGET, TARGET6])
def test_stream_comes_back_whole(place: Place, upstream: Upstream, target: str) -> None:
    data = bytes(range(256)) * 4000
    assert place.run(lambda dialer: echoed(upstream, flow(target, ECHO), dialer, data)) == data


@every(SOCKS4)
def test_stream_comes_back_whole_through_socks4(place: Place, upstream: Upstream) -> None:
    assert place.run(lambda dialer: echoed(upstream, flow(TARGET, ECHO), dialer, b"hello")) == b"hello"


@every(PROXIES)
def test_target_that_nobody_is_at_is_refused(place: Place, upstream: Upstream) -> None:
    with pytest.raises((OSError, UpstreamError)) as caught:
        place.run(lambda dialer: echoed(upstream, flow(TARGET, NOBODY), dialer, b"hello"))
    assert not isinstance(caught.value, TimeoutError)


@every(PROXIES)
def test_request_is_timed(place: Place, upstream: Upstream) -> None:
    for target in (TARGET, f"[{TARGET6}]"):
        url = f"http://{target}:{WEB}/generate_204"
        took = place.run(lambda dialer, url=url: fetch(upstream, url, dialer, expected=204))  # type: ignore[misc]
        assert 0 < took < 10


@NEEDS_MICROSOCKS
def test_wrong_password_is_refused_without_naming_it(place: Place, login: Program) -> None:
    upstream = place.upstream(f"socks5://joe:mackerel@{PROXY}:{LOGIN}")
    with pytest.raises(OpenError, match="does not accept user 'joe'") as caught:
        place.run(lambda dialer: echoed(upstream, flow(TARGET, ECHO), dialer, b"hello"))
    assert "mackerel" not in str(caught.value)


async def associated(upstream: Upstream, dialer: Dialer) -> DatagramWay:
    assert isinstance(upstream, DatagramUpstream)
    return await upstream.open_datagrams(flow(TARGET, ECHO, "udp"), dialer)


async def datagrams_echoed(upstream: Upstream, dialer: Dialer, targets: list[str], rounds: int) -> int:
    """Send datagrams to echoes, one at a time; return how many came back whole, from where they went."""
    loop = asyncio.get_running_loop()
    way = await associated(upstream, dialer)
    good = 0
    try:
        for number in range(rounds):
            target = targets[number % len(targets)]
            packed = flow(target, ECHO).target
            header = way.framing.header_for(packed, ECHO)
            payload = number.to_bytes(4, "big") * (1 + number * 7 % 300)
            await loop.sock_sendall(way.sock, header + payload)
            data = await asyncio.wait_for(loop.sock_recv(way.sock, 65536), 20)
            offset = way.framing.payload_off(data)
            assert offset > 0
            source = way.framing.source_of(data[:offset])
            assert source is not None
            good += data[offset:] == payload and (source.address, source.port) == (packed, ECHO)
        return good
    finally:
        way.close()


@every(WITH_UDP)
@pytest.mark.parametrize("target", [TARGET, TARGET6])
def test_datagrams_come_back_whole(place: Place, upstream: Upstream, target: str) -> None:
    assert place.run(lambda dialer: datagrams_echoed(upstream, dialer, [target], 200)) == 200


@every([WITH_UDP[0]])  # sing-box has one socket for each way, of the family of its first target
def test_datagrams_of_one_way_may_go_to_both_families(place: Place, upstream: Upstream) -> None:
    targets = [TARGET, TARGET6]
    assert place.run(lambda dialer: datagrams_echoed(upstream, dialer, targets, 100)) == 100


@every(WITH_UDP)
def test_what_is_carried_is_found_out(place: Place, upstream: Upstream) -> None:
    place.run(lambda dialer: explore(upstream, dialer, ipv6_target=(TARGET6, ECHO)))
    known = {name: fact.has for name, fact in upstream.knowledge.report().items() if fact.how == "probed"}
    assert known == {"udp": True, "ipv6": True}


@NEEDS_MICROSOCKS
def test_proxy_without_udp_is_found_out_and_flows_go_elsewhere(place: Place, plain: Program) -> None:
    upstream = place.upstream(f"socks5://{PROXY}:{PLAIN}")
    info = flow(TARGET, ECHO, "udp")
    assert upstream.carries(info)
    place.run(lambda dialer: explore(upstream, dialer, ipv6_target=(TARGET6, ECHO)))
    assert not upstream.carries(info)
    assert upstream.carries(flow(TARGET6, ECHO))


@NEEDS_DANTE
def test_way_for_datagrams_ends_with_the_proxy(place: Place) -> None:
    settings = place.scratch / "mortal.conf"
    settings.write_text(DANTE_CONF.replace(f"port = {DANTE}", "port = 1090"))
    program = place.start("mortal", "danted", "-f", str(settings), port=1090)

    async def outlive(dialer: Dialer) -> float:
        way = await associated(place.upstream(f"socks5://{PROXY}:1090"), dialer)
        began = time.monotonic()
        ending = asyncio.ensure_future(way.ended())
        await asyncio.sleep(0.2)
        assert not ending.done()
        await asyncio.get_running_loop().run_in_executor(None, program.stop)
        await asyncio.wait_for(ending, 20)
        way.close()
        return time.monotonic() - began

    try:
        assert place.run(outlive) >= 0.2
    finally:
        program.stop()


def grouped(
    place: Place, table: dict[str, object], **members: str
) -> tuple[Upstream, Health, dict[str, Upstream]]:
    """Return a group of upstreams, by URL, with its checker."""
    upstreams = {name: place.upstream(url, name) for name, url in members.items()}
    options = {key: value for key, value in table.items() if key != "type"}
    options["members"] = list(members)
    upstreams["group"] = place.types[str(table["type"])].build("group", options)
    health = Health()
    health.adopt(bind_groups(upstreams, health))
    return upstreams["group"], health, upstreams


@pytest.mark.needs("microsocks", "danted", "openssl")
def test_relay_goes_through_all_of_them(
    place: Place, plain: Program, dante: Program, sing_box: Program
) -> None:
    group, _, upstreams = grouped(
        place,
        {"type": "relay"},
        first=f"socks5://{PROXY}:{PLAIN}",
        second=f"https://{PROXY}:{TLS}?ca_file={place.certificate}",
        third=f"socks5://{PROXY}:{DANTE}",
        fourth=f"http://{PROXY}:{MIXED}",
    )
    for target in (TARGET, TARGET6):
        info = flow(target, ECHO)
        data = target.encode() * 20_000
        heard = place.run(lambda dialer, info=info, data=data: echoed(group, info, dialer, data))  # type: ignore[misc]
        assert heard == data
    assert group.verdict_for(flow(TARGET, ECHO)).chain == "group → first → second → third → fourth"
    assert sorted(upstreams) == ["first", "fourth", "group", "second", "third"]


@NEEDS_MICROSOCKS
def test_fallback_turns_to_the_next_when_a_proxy_dies_and_back_when_it_returns(place: Place) -> None:
    port = 1091
    argv = ("microsocks", "-i", PROXY, "-p", str(port))
    mortal = place.start("mortal-microsocks", *argv, port=port)
    spare = place.start("spare", "microsocks", "-i", PROXY, "-p", "1092", port=1092)
    table = {
        "type": "fallback",
        "url": f"http://{TARGET}:{WEB}/",
        "interval": 1,
        "lazy": False,
        "status": 204,
    }
    group, health, upstreams = grouped(
        place, table, main=f"socks5://{PROXY}:{port}", spare=f"socks5://{PROXY}:1092"
    )
    info = flow(TARGET, ECHO)

    async def live(dialer: Dialer) -> list[str]:
        nonlocal mortal
        loop = asyncio.get_running_loop()
        health.start(loop, dialer)
        opener = AsyncOpener(loop, NoPath(), on_suspect=health.on_suspect)
        taken = []
        await until(lambda: health.record(upstreams["spare"], str(table["url"])).delay is not None)  # type: ignore[union-attr]
        taken.append(group.verdict_for(info).upstream)
        mortal.stop()
        verdict = group.verdict_for(info)
        with pytest.raises(OpenError, match="cannot reach the proxy: connection refused") as caught:
            await echoed(group, info, dialer, b"hello")
        opener.explain(info, verdict, caught.value)
        taken.append(group.verdict_for(info).upstream)
        assert await echoed(group, info, dialer, b"hello") == b"hello"
        await until(lambda: health.state(upstreams["main"], str(table["url"])) == DEAD)
        mortal = place.start("returned", *argv, port=port)
        await until(lambda: health.state(upstreams["main"], str(table["url"])) == WELL)
        taken.append(group.verdict_for(info).upstream)
        health.stop()
        opener.close()
        await until(lambda: len(asyncio.all_tasks()) == 2)  # this one, and who waits for it
        return taken

    try:
        assert place.run(live) == ["main", "spare", "main"]
    finally:
        mortal.stop()
        spare.stop()


class NoPath:
    """Stands for the packet path."""

    def yield_loop(self) -> None:
        pass


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1500):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError
