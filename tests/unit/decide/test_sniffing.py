"""What the first octets tell: one answer for any protocol."""

import pytest

from tests.unit.decide.test_sniff_tls import hello
from tunproxy.decide.sniffing import (
    MAX_SNIFFED,
    MORE,
    NOTHING,
    Sniffed,
    clean_name,
    is_worth_waiting,
    sniff_stream,
)


def test_stream_of_tls_tells_the_server_name() -> None:
    assert sniff_stream(hello("WWW.example.org")) == Sniffed("www.example.org", "tls")


def test_stream_of_http_tells_the_host() -> None:
    assert sniff_stream(b"GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n") == Sniffed("a.example", "http")


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01", b"GET "])
def test_stream_that_has_only_begun_needs_more(data: bytes) -> None:
    assert sniff_stream(data) == MORE


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-x\r\n", b"\0\0\0\1", b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", hello(None),
     b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_SNIFFED],
)  # fmt: skip
def test_stream_of_anything_else_tells_nothing(data: bytes) -> None:
    assert sniff_stream(data) == NOTHING


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("WWW.Example.ORG", "www.example.org"),
        ("example.org.", "example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_dmarc.example.org", "_dmarc.example.org"),
        ("localhost", "localhost"),
        ("", ""),
        ("192.0.2.1", ""),
        ("[2001:db8::1]", ""),
        ("a..b", ""),
        (".a", ""),
        ("a b", ""),
        ("bücher.example", ""),
        ("a" * 64 + ".example", ""),
        ("a." * 130 + "b", ""),
    ],
)
def test_names_are_cleaned(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


def test_only_clients_that_speak_first_are_waited_for() -> None:
    assert is_worth_waiting("tcp", 443)
    assert not is_worth_waiting("tcp", 25)
    assert is_worth_waiting("udp", 25)
