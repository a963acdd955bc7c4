"""The HTTP plugin's conversation: CONNECT, and every way of answering it."""

import base64
import errno
import importlib

import pytest

from tests.unit.codecs.streams import encoded, json_lines
from tunproxy.codecs import named
from tunproxy.errors import ConfigError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, OPEN, FlowInfo
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import OpenError
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.types import build_from_url

V4 = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 443)
V6 = FlowInfo("tcp", bytes(15) + b"\x02", 40000, bytes.fromhex("20010db8000000000000000000000007"), 443)
NAMED = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([198, 18, 0, 9]), 443, "www.example.org")


def upstream(url: str) -> ProxyUpstream:
    plugins = Plugins()
    assert plugins.register(importlib.import_module("tunproxy_plugins.http"), "http")
    made = build_from_url(url, plugins.upstream_types())
    assert isinstance(made, ProxyUpstream)
    return made


def talk(info: FlowInfo = V4, url: str = "http://192.0.2.1") -> Conversation:
    conversation = upstream(url).converse(info)
    conversation.begin()
    return conversation


def test_verdict_leaves_plain_http_to_the_packet_path_and_tls_to_a_coroutine() -> None:
    verdict = upstream("http://192.0.2.1:3128").verdict_for(V4)
    assert (verdict.kind, verdict.address, verdict.port) == (CONVERSE, "192.0.2.1", 3128)
    assert upstream("https://192.0.2.1").verdict_for(V4).kind == OPEN
    assert upstream("https://192.0.2.1").port == 443


@pytest.mark.parametrize(
    ("info", "authority"),
    [(V4, "192.0.2.7:443"), (V6, "[2001:db8::7]:443"), (NAMED, "www.example.org:443")],
)
def test_connect_asks_for_the_target(info: FlowInfo, authority: str) -> None:
    said = upstream("http://192.0.2.1").converse(info).begin()
    assert said == f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()


def test_connect_logs_in_with_basic_authentication() -> None:
    said = upstream("http://joe:sword%3Afish@192.0.2.1").converse(V4).begin().decode()
    token = said.split("Proxy-Authorization: Basic ")[1].split("\r\n")[0]
    assert base64.b64decode(token) == b"joe:sword:fish"


@pytest.mark.parametrize("cut", [1, 7, 1000])
@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 204 None\nA: b\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_connect_success_ends_the_conversation(head: str, cut: int) -> None:
    conversation = talk()
    data = head.encode()
    for at in range(0, len(data), cut):
        assert not conversation.is_over
        assert conversation.heard(data[at : at + cut]) == b""
    assert conversation.is_over
    assert conversation.rest == b""


def test_connect_octets_behind_the_head_are_the_targets() -> None:
    conversation = talk()
    conversation.heard(b"HTTP/1.1 200 OK\r\n\r\n220 \r\n\r\nhello")
    assert conversation.rest == b"220 \r\n\r\nhello"


@pytest.mark.parametrize(
    ("status", "number"),
    [("504 Gateway Timeout", errno.ETIMEDOUT), ("502 Bad Gateway", errno.ECONNREFUSED),
     ("503 Service Unavailable", errno.ECONNREFUSED), ("500 Unable to connect", errno.ECONNREFUSED)],
)  # fmt: skip
def test_connect_what_the_proxy_says_of_the_target_is_passed_on(status: str, number: int) -> None:
    with pytest.raises(OSError, match=status) as caught:
        talk().heard(f"HTTP/1.1 {status}\r\n\r\n<html>".encode())
    assert caught.value.errno == number


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "wants another user or password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (b"HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n", "301 Moved"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 2OO OK\r\n\r\n", "broken status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "longer than 16384"),
        (b"\x05\x00", "does not speak HTTP"),
    ],
)
def test_connect_proxy_that_does_not_do_what_it_is_asked_is_named(answer: bytes, message: str) -> None:
    with pytest.raises(OpenError) as caught:
        talk().heard(answer)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://jo%3Ae:x@h", "a user with a colon"),
        ("http://:x@h", "a password without a user"),
        ("https://h?ca_file=/nowhere.pem", "cannot read ca_file '/nowhere.pem'"),
    ],
)
def test_options_that_cannot_be_are_refused_at_the_start(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        upstream(url)
    assert message in str(caught.value)


@pytest.mark.parametrize("host", ["a b", "a\r\nX: y", "a\x00", "münchen", "a\t"])
def test_name_that_would_break_the_request_is_not_asked_for(host: str) -> None:
    info = FlowInfo("tcp", V4.client, 40000, bytes([198, 18, 0, 9]), 443, host)
    with pytest.raises(OpenError, match="cannot ask an HTTP proxy for the name"):
        talk(info)


# codecs


def test_codecs_are_offered_best_first_and_nothing_without_them() -> None:
    said = upstream("http://192.0.2.1?codecs=zstd,gzip").converse(V4).begin()
    assert b"\r\nTunnel-Codecs: zstd, gzip\r\n" in said
    assert b"Tunnel-Codecs" not in upstream("http://192.0.2.1").converse(V4).begin()


@pytest.mark.parametrize("name", ["zstd", "gzip"])
@pytest.mark.parametrize("cut", [1, 1000])
def test_codec_that_the_proxy_chooses_is_on_the_stream(name: str, cut: int) -> None:
    theirs = named.make(name)
    conversation = talk(url="http://192.0.2.1?codecs=zstd,gzip")
    data = f"HTTP/1.1 200 OK\r\nA: b\r\ntunnel-codec: {name} \r\n\r\n".encode()
    data += theirs.encode(b"220 hello") + theirs.flush()
    rest = b""
    for at in range(0, len(data), cut):
        if conversation.is_over:
            assert conversation.codec is not None
            rest += conversation.codec.decode(data[at : at + cut])
        else:
            conversation.heard(data[at : at + cut])
            rest += conversation.rest
    assert rest == b"220 hello"
    assert conversation.codec is not None
    assert theirs.decode(conversation.codec.encode(b"mine") + conversation.codec.flush()) == b"mine"


@pytest.mark.parametrize(("name", "low", "high"), [("zstd", 1, 12), ("gzip", 1, 9)])
def test_level_is_how_hard_we_try(name: str, low: int, high: int) -> None:
    sizes = []
    for level in (low, high):
        conversation = talk(url=f"http://192.0.2.1?codecs={name}&{name}_level={level}")
        conversation.heard(f"HTTP/1.1 200 OK\r\nTunnel-Codec: {name}\r\n\r\n".encode())
        assert conversation.codec is not None
        sizes.append(len(encoded(conversation.codec, [json_lines(2000)])))
    assert sizes[1] < 0.95 * sizes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("codecs=zstd&zstd_level=99", "zstd has no level 99 (-7 to 19)"),
        ("codecs=gzip&gzip_level=0", "gzip has no level 0 (1 to 9)"),
        ("zstd_level=3", "a level without codecs"),
        ("codecs=zstd&zstd_level=high", "zstd_level"),
    ],
)
def test_level_that_there_is_not_is_told(options: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        upstream(f"http://192.0.2.1?{options}")
    assert message in str(caught.value)


def test_proxy_without_codecs_makes_an_ordinary_tunnel() -> None:
    conversation = talk(url="http://192.0.2.1?codecs=zstd")
    conversation.heard(b"HTTP/1.1 200 OK\r\nTunnel-Codec: \r\n\r\nhello")
    assert (conversation.codec, conversation.rest) == (None, b"hello")


@pytest.mark.parametrize(
    ("url", "choice"),
    [("?codecs=zstd", "gzip"), ("?codecs=zstd", "zstd;dict=7"), ("?codecs=zstd", "zstd, gzip"), ("", "zstd")],
)
def test_codec_that_was_not_offered_is_refused(url: str, choice: str) -> None:
    with pytest.raises(OpenError, match="codec cannot be used"):
        talk(url=f"http://192.0.2.1{url}").heard(
            f"HTTP/1.1 200 OK\r\nTunnel-Codec: {choice}\r\n\r\n".encode()
        )


def test_stream_that_is_not_in_its_codec_is_the_proxys_fault() -> None:
    with pytest.raises(OpenError, match="codec cannot be used"):
        talk(url="http://192.0.2.1?codecs=zstd").heard(
            b"HTTP/1.1 200 OK\r\nTunnel-Codec: zstd\r\n\r\n" + b"this is no frame" * 10
        )


def test_codec_that_there_is_not_is_told() -> None:
    with pytest.raises(ConfigError, match="there is no codec 'lzma'"):
        upstream("http://192.0.2.1?codecs=lzma")
