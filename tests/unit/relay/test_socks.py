"""SOCKS 5 as the server: greetings, logins, requests, and what is refused."""

import pytest

from tests.unit.relay.mutated import CutStream, finish
from tunproxy.relay.failures import DENIED, HungUp, RequestFailed
from tunproxy.relay.requests import ASSOCIATE, CONNECT, Request
from tunproxy.relay.socks import LoginFailed, granted, refused, understand
from tunproxy.relay.users import ANONYMOUS, Users
from tunproxy.secret import Secret

NOBODY = Users({})
JOE = Users({"joe": Secret("fish")})
GREETING = b"\x05\x02\x00\x02"
LOGIN = b"\x01\x03joe\x04fish"
IPV4 = b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb"


def ask(data: bytes, users: Users = NOBODY) -> tuple[Request, CutStream]:
    stream = CutStream(data)
    found = finish(understand(stream, users))  # type: ignore[arg-type]
    assert isinstance(found, Request)
    return found, stream


@pytest.mark.parametrize(
    ("written", "host"),
    [
        (b"\x01\xc0\x00\x02\x07", "192.0.2.7"),
        (b"\x03\x0bexample.com", "example.com"),
        (b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x07", "2001:db8::7"),
    ],
)
def test_request_names_its_target(written: bytes, host: str) -> None:
    request, stream = ask(GREETING + b"\x05\x01\x00" + written + b"\x01\xbbearly")
    assert request == Request(CONNECT, "socks5", host, 443, ANONYMOUS)
    assert stream.rest == b"early"


def test_associate_is_a_request_for_datagrams() -> None:
    assert ask(GREETING + b"\x05\x03\x00\x01" + bytes(6))[0].command == ASSOCIATE


def test_login_of_a_user_is_taken() -> None:
    assert ask(GREETING + LOGIN + IPV4, JOE)[0].user == "joe"


@pytest.mark.parametrize(
    "login", [b"\x01\x03joe\x04fisk", b"\x01\x03jim\x04fish", b"\x02\x03joe\x04fish", b"\x01\x00\x00"]
)
def test_login_that_is_wrong_is_refused(login: bytes) -> None:
    with pytest.raises(LoginFailed, match="wrong user or password"):
        ask(GREETING + login + IPV4, JOE)


def test_client_without_a_password_is_refused() -> None:
    with pytest.raises(LoginFailed):
        ask(b"\x05\x01\x00" + IPV4, JOE)
    with pytest.raises(LoginFailed):
        ask(b"\x05\x01\x02" + LOGIN + IPV4)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\x05\x02\x00\x01" + bytes(6), 7),
        (b"\x05\x01\x00\x05" + bytes(6), 8),
        (b"\x04\x01\x00\x01" + bytes(6), 1),
    ],
)
def test_what_is_not_supported_is_told(request_: bytes, code: int) -> None:
    with pytest.raises(RequestFailed) as caught:
        ask(GREETING + request_)
    assert caught.value.socks_code == code


@pytest.mark.parametrize("size", range(len(GREETING + LOGIN + IPV4)))
def test_request_that_is_cut_off_is_a_hang_up(size: int) -> None:
    with pytest.raises(HungUp):
        ask((GREETING + LOGIN + IPV4)[:size], JOE)


def test_answers_are_those_of_the_rfc() -> None:
    assert granted(("192.0.2.1", 1080)) == b"\x05\x00\x00\x01\xc0\x00\x02\x01\x04\x38"
    assert granted(("2001:db8::1", 1))[:4] == b"\x05\x00\x00\x04"
    assert len(granted(("2001:db8::1", 1))) == 22
    assert refused(RequestFailed(DENIED, "x")) == b"\x05\x02\x00\x01" + bytes(6)
