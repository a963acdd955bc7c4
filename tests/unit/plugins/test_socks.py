"""The SOCKS plugin's conversations, octet by octet, and what becomes of each answer."""

import asyncio
import errno
import gc
import importlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tunproxy.datagram.socks_framing import SocksFraming
from tunproxy.errors import ConfigError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, FlowInfo
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import OpenError, Unreached
from tunproxy.upstream.datagrams import DatagramUpstream, DatagramWay
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.upstream.types import build_from_url

V4 = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 443)
V6 = FlowInfo("tcp", bytes(15) + b"\x02", 40000, bytes.fromhex("20010db8000000000000000000000007"), 443)
NAMED = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([198, 18, 0, 9]), 443, "www.example.org")

OK = bytes.fromhex("05000001" + "c0000209" + "2710")


def upstream(url: str) -> ProxyUpstream:
    plugins = Plugins()
    assert plugins.register(importlib.import_module("tunproxy_plugins.socks"), "socks")
    made = build_from_url(url, plugins.upstream_types())
    assert isinstance(made, ProxyUpstream)
    return made


def talk(url: str, info: FlowInfo = V4) -> Conversation:
    return upstream(url).converse(info)


def pieces(data: bytes, cut: int) -> Iterator[bytes]:
    for at in range(0, len(data), cut):
        yield data[at : at + cut]


@pytest.mark.parametrize(
    ("url", "port"),
    [("socks5://192.0.2.1", 1080), ("socks5h://192.0.2.1:99", 99), ("socks4://192.0.2.1", 1080)],
)
def test_verdict_leaves_the_conversation_to_the_packet_path(url: str, port: int) -> None:
    verdict = upstream(url).verdict_for(V4)
    assert (verdict.kind, verdict.address, verdict.port) == (CONVERSE, "192.0.2.1", port)


@pytest.mark.parametrize(
    ("info", "address"),
    [
        (V4, "01c0000207"),
        (V6, "0420010db8000000000000000000000007"),
        (NAMED, "030f" + b"www.example.org".hex()),
    ],
)
@pytest.mark.parametrize("cut", [1, 3, 100])
def test_socks5_asks_for_the_target(info: FlowInfo, address: str, cut: int) -> None:
    conversation = talk("socks5://192.0.2.1", info)
    assert conversation.begin().hex() == "050100"
    said = b"".join(conversation.heard(piece) for piece in pieces(b"\x05\x00", cut))
    assert said.hex() == "050100" + address + "01bb"
    assert b"".join(conversation.heard(piece) for piece in pieces(OK, cut)) == b""
    assert conversation.is_over
    assert conversation.rest == b""


def test_socks5_octets_behind_the_reply_are_the_targets() -> None:
    conversation = talk("socks5://192.0.2.1")
    conversation.begin()
    conversation.heard(b"\x05\x00")
    conversation.heard(OK + b"220 hello")
    assert conversation.rest == b"220 hello"


@pytest.mark.parametrize(
    "bound", ["0420010db80000000000000000000000092710", "0307" + b"a.b.c.d".hex() + "2710"]
)
def test_socks5_any_kind_of_bound_address_is_skipped(bound: str) -> None:
    conversation = talk("socks5://192.0.2.1")
    conversation.begin()
    conversation.heard(b"\x05\x00")
    conversation.heard(bytes.fromhex("050000" + bound) + b"x")
    assert conversation.rest == b"x"


def test_socks5_pipelined_says_everything_at_once() -> None:
    conversation = talk("socks5://192.0.2.1?pipeline=true")
    assert conversation.begin().hex() == "050100" + "05010001c000020701bb"
    assert conversation.heard(b"\x05\x00" + OK) == b""
    assert conversation.is_over


def test_socks5_logs_in_where_the_proxy_wants_it() -> None:
    conversation = talk("socks5://joe:swordfish@192.0.2.1")
    assert conversation.begin().hex() == "05020002"
    assert conversation.heard(b"\x05\x02") == b"\x01\x03joe\x09swordfish"
    assert conversation.heard(b"\x01\x00").hex() == "05010001c000020701bb"


def test_socks5_login_that_is_not_wanted_is_not_told() -> None:
    conversation = talk("socks5://joe:swordfish@192.0.2.1")
    conversation.begin()
    assert conversation.heard(b"\x05\x00").hex() == "05010001c000020701bb"


@pytest.mark.parametrize(
    ("url", "answers", "message"),
    [
        ("socks5://joe:swordfish@h", ["0502", "0101"], "does not accept user 'joe' with this password"),
        ("socks5://h", ["05ff"], "wants a login"),
        ("socks5://joe@h", ["05ff"], "takes another login"),
        ("socks5://h", ["0502"], "chose login method 2, which was not offered"),
        ("socks5://h", ["485454502f"], "does not speak SOCKS 5: it began with octet 0x48"),
        ("socks5://h", ["0500", "0400"], "is not SOCKS 5"),
        ("socks5://h", ["0500", "0501"], "general failure"),
        ("socks5://h", ["0500", "0502"], "rules do not allow it"),
        ("socks5://h", ["0500", "0507"], "does not know the command"),
        ("socks5://h", ["0500", "0508"], "does not know this kind of address"),
        ("socks5://h", ["0500", "05c8"], "unknown code 200"),
        ("socks5://h", ["0500", "0500000500"], "address of the unknown kind 5"),
        ("socks4://192.0.2.1", ["05"], "does not speak SOCKS 4"),
        ("socks4://192.0.2.1", ["005d000000000000"], "wants to ask identd"),
    ],
)
def test_proxy_that_does_not_do_what_it_is_asked_is_named(url: str, answers: list[str], message: str) -> None:
    conversation = talk(url)
    conversation.begin()
    for answer in answers[:-1]:
        conversation.heard(bytes.fromhex(answer))
    with pytest.raises(OpenError) as caught:
        conversation.heard(bytes.fromhex(answers[-1]))
    assert message in str(caught.value)
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "number"),
    [(3, errno.ENETUNREACH), (4, errno.EHOSTUNREACH), (5, errno.ECONNREFUSED), (6, errno.EHOSTUNREACH)],
)
def test_socks5_what_the_proxy_says_of_the_target_is_passed_on(code: int, number: int) -> None:
    conversation = talk("socks5://192.0.2.1")
    conversation.begin()
    conversation.heard(b"\x05\x00")
    with pytest.raises(OSError, match="the proxy says") as caught:
        conversation.heard(bytes((5, code)))
    assert caught.value.errno == number


@pytest.mark.parametrize("cut", [1, 100])
@pytest.mark.parametrize(
    ("url", "info", "request_"),
    [
        ("socks4://192.0.2.1", V4, "040101bbc000020700"),
        ("socks4://joe@192.0.2.1", V4, "040101bbc0000207" + b"joe\0".hex()),
        ("socks4a://192.0.2.1", NAMED, "040101bb00000001" + "00" + b"www.example.org\0".hex()),
        ("socks4://192.0.2.1", NAMED, "040101bbc612000900"),
    ],
)
def test_socks4_asks_for_the_target(url: str, info: FlowInfo, request_: str, cut: int) -> None:
    conversation = talk(url, info)
    assert conversation.begin().hex() == request_
    answer = bytes.fromhex("005a000000000000")
    for piece in pieces(answer, cut):
        assert not conversation.is_over
        conversation.heard(piece)
    assert conversation.is_over


def test_socks4_refusal_is_a_refusal() -> None:
    conversation = talk("socks4://192.0.2.1")
    conversation.begin()
    with pytest.raises(ConnectionRefusedError):
        conversation.heard(bytes.fromhex("005b000000000000"))


def test_socks4_has_no_ipv6() -> None:
    with pytest.raises(OSError, match="no IPv6") as caught:
        talk("socks4://192.0.2.1", V6)
    assert caught.value.errno == errno.ENETUNREACH


def test_name_that_does_not_fit_is_refused() -> None:
    info = FlowInfo("tcp", V4.client, 1, V4.target, 443, "a" * 256)
    with pytest.raises(OpenError, match="256 octets"):
        talk("socks5://192.0.2.1", info)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"socks5://{'u' * 256}:p@h", "the user is longer than 255"),
        (f"socks5://u:{'p' * 256}@h", "the password is longer than 255"),
        ("socks4://joe%00x@h", "SOCKS 4 has no octet 0 in a user"),
        ("socks5://:p@h", "a password without a user"),
    ],
)
def test_login_that_cannot_be_is_refused_at_the_start(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        upstream(url)
    assert message in str(caught.value)


# UDP


@pytest.mark.parametrize(
    ("url", "code", "info", "ability"),
    [
        ("socks5://h", 8, V6, "ipv6"),
        ("socks5://h", 8, NAMED, "names"),
        ("socks5://h", 8, V4, ""),
        ("socks5://h", 7, V4, ""),
        ("socks5://h", 1, V6, ""),
    ],
)
def test_socks5_answer_that_shows_a_lack_says_so(url: str, code: int, info: FlowInfo, ability: str) -> None:
    conversation = talk(url, info)
    conversation.begin()
    conversation.heard(b"\x05\x00")
    with pytest.raises(OpenError) as caught:
        conversation.heard(bytes((5, code)))
    assert caught.value.lacks == ability


def test_socks5_proxy_that_takes_no_names_gets_addresses() -> None:
    proxy = upstream("socks5://192.0.2.1")
    proxy.knowledge.learn("names", False)
    conversation = proxy.converse(NAMED)
    conversation.begin()
    assert conversation.heard(b"\x05\x00").hex() == "05010001" + "c6120009" + "01bb"


@pytest.mark.parametrize(
    ("url", "carried"),
    [
        ("socks5://h", {"tcp", "tcp6", "udp", "udp6"}),
        ("socks5://h?udp=false", {"tcp", "tcp6"}),
        ("socks4://h", {"tcp"}),
        ("socks4a://h", {"tcp"}),
    ],
)
def test_what_is_carried_is_declared(url: str, carried: set[str]) -> None:
    proxy = upstream(url)
    found = set()
    for protocol in ("tcp", "udp", "icmp"):
        for info, suffix in ((V4, ""), (V6, "6")):
            flow = FlowInfo(protocol, info.client, 1, info.target, 53)
            if proxy.carries(flow):
                found.add(protocol + suffix)
    assert found == carried
    assert proxy.carries(FlowInfo("tcp", V6.client, 1, V6.target, 443, "h.example")) == (url != "socks4://h")


class Relay:
    """A proxy's side of one UDP ASSOCIATE: what it is asked, and a socket that answers datagrams."""

    def __init__(self, reply: str, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.datagrams = socket.socket(family, socket.SOCK_DGRAM)
        self.datagrams.bind((host, 0))
        self.datagrams.settimeout(5)
        self.listener = socket.create_server((host, 0), family=family)
        self.port = self.listener.getsockname()[1]
        self.reply = reply.replace("PORT", f"{self.datagrams.getsockname()[1]:04x}")
        self.asked = b""
        self.is_closed = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with self.listener, self.listener.accept()[0] as conn:
            conn.recv(10)
            conn.sendall(b"\x05\x00")
            self.asked = conn.recv(100)
            conn.sendall(bytes.fromhex(self.reply))
            conn.recv(1)
        self.is_closed.set()

    def close(self) -> None:
        self.datagrams.close()
        self.listener.close()


async def associate(relay: Relay, host: str = "127.0.0.1") -> DatagramWay:
    proxy = upstream(f"socks5://{'[::1]' if ':' in host else host}:{relay.port}")
    assert isinstance(proxy, DatagramUpstream)
    info = FlowInfo("udp", V4.client, 40000, V4.target, 53)
    dialer = AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
    return await asyncio.wait_for(proxy.open_datagrams(info, dialer), 5)


@pytest.mark.parametrize(
    ("reply", "host"),
    [
        ("05000001" + "7f000001" + "PORT", "127.0.0.1"),
        ("05000001" + "00000000" + "PORT", "127.0.0.1"),
        ("05000004" + "00" * 16 + "PORT", "127.0.0.1"),
        ("05000001" + "00000000" + "PORT", "::1"),
        ("05000004" + "00" * 15 + "01" + "PORT", "::1"),
        ("05000003" + "09" + b"127.0.0.1".hex() + "PORT", "127.0.0.1"),
    ],
)
def test_socks5_associate_leads_to_where_the_proxy_says(reply: str, host: str) -> None:
    relay = Relay(reply, host)

    async def run() -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        way = await associate(relay, host)
        header = way.framing.header_for(V4.target, 53)
        await loop.sock_sendall(way.sock, header + b"question")
        seen, client = await loop.run_in_executor(None, relay.datagrams.recvfrom, 100)
        relay.datagrams.sendto(header + b"answer", client)
        data = await asyncio.wait_for(loop.sock_recv(way.sock, 100), 5)
        assert not relay.is_closed.is_set()
        way.close()
        return seen, data[way.framing.payload_off(data) :]

    seen, answer = asyncio.run(run())
    assert seen.hex() == "000000" + "01c0000207" + "0035" + b"question".hex()
    assert answer == b"answer"
    assert relay.asked.hex() == "05030001" + "00000000" + "0000"
    assert relay.is_closed.wait(5)
    relay.close()


def test_socks5_associate_lasts_as_long_as_its_control_connection() -> None:
    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        control = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
        control.setblocking(False)
        way = DatagramWay(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), SocksFraming(), control)
        ending = asyncio.ensure_future(way.ended())
        await asyncio.sleep(0.01)
        assert not ending.done()
        theirs.close()
        await asyncio.wait_for(ending, 5)
        way.close()
        listener.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("reply", "message", "lacks"),
    [
        ("0507", "does not know the command", "udp"),
        ("0501", "general failure", ""),
        ("05000001" + "7f000001" + "0000", "takes datagrams at port 0", ""),
        ("05000001" + "e0000001" + "0035", "takes datagrams at 224.0.0.1", ""),
    ],
)
def test_socks5_associate_that_fails_closes_the_control_connection(
    reply: str, message: str, lacks: str
) -> None:
    relay = Relay(reply)
    with pytest.raises(OpenError, match=message) as caught:
        asyncio.run(associate(relay))
    assert caught.value.lacks == lacks
    assert relay.is_closed.wait(5)
    relay.close()


@pytest.mark.parametrize("server", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("stray", ["127.0.0.1", "::1", "127.8.9.10", "224.0.0.1", "ff02::1"])
def test_socks5_proxy_elsewhere_that_points_at_ourselves_is_refused(server: str, stray: str) -> None:
    relay_address = importlib.import_module("tunproxy_plugins.socks.relay_address")
    packed = socket.inet_pton(socket.AF_INET6 if ":" in stray else socket.AF_INET, stray)
    with pytest.raises(OpenError, match="which is not its address"):
        relay_address.relay_address((packed, 53), 1, server)
    assert relay_address.relay_address((bytes(4), 53), 1, server) == (server, 53)


def test_socks5_proxy_that_cannot_be_reached_is_unreached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = upstream(f"socks5://127.0.0.1:{listener.getsockname()[1]}")
    assert isinstance(proxy, DatagramUpstream)

    async def run() -> None:
        dialer = AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
        await proxy.open_datagrams(V4, dialer)

    with pytest.raises(Unreached, match="connection refused"):
        asyncio.run(run())


def test_socks5_conversation_leaves_no_cycle_behind() -> None:
    """There is one for each flow: nobody should have to look for those that are over."""
    proxy = upstream("socks5://192.0.2.1")
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            conversation = proxy.converse(V4)
            conversation.begin()
            conversation.heard(b"\x05\x00")
            conversation.heard(OK)
        del conversation
        assert gc.collect() == 0
    finally:
        gc.enable()
