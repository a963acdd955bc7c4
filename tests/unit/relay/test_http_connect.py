"""HTTP as the relay hears it: what is understood, what is refused and how; and mutated requests."""

import base64
import random

import pytest

from tests.unit.relay.mutated import HTTP, CutStream, attack, finish, mutate
from tunproxy.relay.failures import BAD, KINDS, LOGIN, HungUp, RequestFailed
from tunproxy.relay.http_connect import (
    HttpHead,
    granted,
    plain_head,
    quoted,
    read_head,
    refused,
    understand,
)
from tunproxy.relay.requests import CONNECT, CONNECT_UDP, Request
from tunproxy.relay.users import ANONYMOUS, Users
from tunproxy.secret import Secret

NOBODY = Users({})
JOE = Users({"joe": Secret("fi:sh")})


def head_of(text: str) -> tuple[HttpHead, CutStream]:
    stream = CutStream(text.encode("latin-1"))
    found = finish(read_head(stream))  # type: ignore[arg-type]
    assert isinstance(found, HttpHead)
    return found, stream


def request_of(text: str, users: Users = NOBODY) -> Request:
    found = finish(understand(head_of(text)[0], users))
    assert isinstance(found, Request)
    return found


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("example.com:443", "example.com", 443),
        ("192.0.2.7:80", "192.0.2.7", 80),
        ("[2001:db8::7]:443", "2001:db8::7", 443),
    ],
)
def test_connect_names_its_target(authority: str, host: str, port: int) -> None:
    request = request_of(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nTunnel-Codecs: zstd\r\n\r\n")
    assert request == Request(CONNECT, "http", host, port, ANONYMOUS, "zstd")
    assert str(request) == authority


def test_what_follows_the_head_is_the_streams() -> None:
    head, stream = head_of("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03 early")
    assert head.method == "CONNECT"
    assert stream.rest == b"\x16\x03 early"


def test_connect_udp_names_its_target() -> None:
    request = request_of(
        "GET /.well-known/masque/udp/2001%3Adb8%3A%3A7/53/ HTTP/1.1\r\nHost: relay\r\n"
        "Connection: keep-alive, Upgrade\r\nUpgrade: connect-udp\r\n\r\n"
    )
    assert (request.command, request.host, request.port) == (CONNECT_UDP, "2001:db8::7", 53)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("CONNECT example.com HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "400"),
        ("GET http://example.com/ HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        ("GET /udp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n\r\n", "400"),
        ("GET /.well-known/masque/udp/a/53/ HTTP/1.1\r\nHost: x\r\nUpgrade: connect-udp\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", "400"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nX: " + "x" * 20_000, "431"),
    ],
)
def test_what_is_no_request_is_refused(text: str, status: str) -> None:
    with pytest.raises(RequestFailed) as caught:
        request_of(text)
    assert refused(caught.value).startswith(f"HTTP/1.1 {status} ".encode())


def test_head_that_is_too_long_is_called_that() -> None:
    with pytest.raises(RequestFailed, match=r"^the head has more than 16384 octets$"):
        request_of("CONNECT a:1 HTTP/1.1\r\nX: " + "x" * 20_000)


def test_head_that_is_cut_off_is_a_hang_up() -> None:
    with pytest.raises(HungUp):
        head_of("CONNECT a:1 HTT")


@pytest.mark.parametrize("kind", ["Basic", "basic"])
def test_login_of_a_user_is_taken(kind: str) -> None:
    token = base64.b64encode(b"joe:fi:sh").decode()
    head = f"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: {kind} {token}\r\n\r\n"
    assert request_of(head, JOE).user == "joe"


@pytest.mark.parametrize(
    "field",
    [
        "", "Basic", "Basic %%%", "Basic \xe9\xe9\xe9\xe9", "Bearer am9lOmZpOnNo", "Basic am9l",
        "Basic " + base64.b64encode(b"joe:x").decode(), "Basic " + base64.b64encode(b"jim:fi:sh").decode(),
        "Basic " + base64.b64encode(b"\xff:x").decode(),
    ],
)  # fmt: skip
def test_login_that_is_wrong_is_refused(field: str) -> None:
    text = f"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: {field}\r\n\r\n"
    with pytest.raises(RequestFailed) as caught:
        request_of(text, JOE)
    assert caught.value.kind == LOGIN
    answer = refused(caught.value).decode()
    assert answer.startswith("HTTP/1.1 407 ")
    assert 'Proxy-Authenticate: Basic realm="tunproxy"' in answer
    assert "joe" not in answer


def test_granted_names_the_codec_only_where_there_is_one() -> None:
    request = Request(CONNECT, "http", "a", 1, ANONYMOUS)
    assert granted(request) == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert b"\r\nTunnel-Codec: zstd;dict=7\r\n\r\n" in granted(request, "zstd;dict=7")
    assert granted(Request(CONNECT_UDP, "connect-udp", "a", 1, ANONYMOUS)).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("kind", KINDS)
def test_every_failure_has_an_answer_that_is_one(kind: str) -> None:
    head, _, body = refused(RequestFailed(kind, 'it\r\nfailed: "so"')).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Proxy-Status: tunproxy; details=" in head
    assert head.count(b"\n") == head.count(b"\r\n")
    assert b"failed" not in head.split(b"\r\n")[0]


def test_quoted_is_a_string_of_a_structured_field() -> None:
    assert quoted('a"b\\c\r\né') == '"a\\"b\\\\c???"'


def test_failures_of_bad_requests_are_bad() -> None:
    with pytest.raises(RequestFailed) as caught:
        request_of("CONNECT :1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert caught.value.kind == BAD


def test_mutated_requests_end_as_foreseen() -> None:
    """``tests/bench/relay_fuzz.py`` does the same with a million."""
    ends = attack(20_000, seed=9110)
    assert ends.keys() >= {"accepted", "RequestFailed", "HungUp", "LoginFailed", "ConfigError"}
    assert sum(ends.values()) == 20_000


LINES = [
    "Host: a", "host:b:1", "Host: ", "X-Y:\t z  z \t", "Content-Length: 0", "Transfer-Encoding: chunked",
    "X:", "Connection: close", "Proxy-Authorization: Basic eA==", "Tunnel-Codecs: zstd, gzip", "A b: c",
    "\xe4: x",
    "X: \xe4", " folded", "X: \x01", "Expect: 100-continue", "Host", "x-y: again", "Upgrade: websocket",
]  # fmt: skip


def random_head(chance: random.Random) -> bytes:
    """Return a head that is right, or nearly."""
    target = chance.choice(["a:1", "a:1", "[::1]:443", "a b", "\x7f:1", ""])
    version = chance.choice(["1.1", "1.1", "1.1", "1.0", "2.0"])
    lines = [f"CONNECT {target} HTTP/{version}", "Host: x", *chance.sample(LINES, chance.randrange(4))]
    if chance.random() < 0.2:
        chance.shuffle(lines)
    return "\r\n".join([*lines, "", chance.choice(["", "early", "\r\n"])]).encode("latin-1")


def test_plain_head_is_what_the_library_reads() -> None:
    chance = random.Random(6)
    count = 0
    for _ in range(6000):
        data = random_head(chance) if chance.random() < 0.6 else mutate(HTTP[0], chance)
        found = plain_head(data)
        if found is not None:
            count += 1
            stream = CutStream(data)  # says nothing before it is asked for more: that is for the library
            head = finish(read_head(stream))  # type: ignore[arg-type]
            assert isinstance(head, HttpHead)
            plain, rest = found
            assert (head.method, head.target, head.fields) == (plain.method, plain.target, plain.fields)
            assert data.endswith(rest)
            assert rest.startswith(stream.rest)
            assert data[: len(data) - len(rest)].endswith(b"\r\n\r\n")
    assert count > 500


def test_head_that_is_there_at_once_is_read_at_once() -> None:
    stream = CutStream(b"")
    stream.rest = b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTunnel-Codecs: zstd\r\n\r\nearly"
    head = finish(read_head(stream))  # type: ignore[arg-type]
    assert isinstance(head, HttpHead)
    assert (head.method, head.target) == ("CONNECT", "a:1")
    assert head.fields == {"host": "a", "tunnel-codecs": "zstd"}
    assert stream.rest == b"early"
