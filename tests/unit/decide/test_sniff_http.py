"""Hosts in HTTP requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.decide.sniff_http import host_in_request


@pytest.mark.parametrize(
    ("request_", "host"),
    [
        ("GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n", "www.example.org"),
        ("GET / HTTP/1.1\r\nAccept: */*\r\nhOsT:\twww.example.org:8080 \r\n\r\nbody", "www.example.org"),
        ("GET / HTTP/1.1\r\nHost: www.example.org\r\nAcc", "www.example.org"),
        ("POST http://joe@other.example:80/x HTTP/1.1\r\nHost: www.example.org\r\n\r\n", "other.example"),
        ("CONNECT www.example.org:443 HTTP/1.1\r\nHost: www.example.org:443\r\n\r\n", "www.example.org"),
        ("GET / HTTP/1.0\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "[2001:db8::1]:80"),
        ("GET / HTTP/1.1\nHost: www.example.org\n\n", "www.example.org"),
        ("GET / HTTP/1.1\r\nX: Host: no\r\nHost: yes.example\r\n\r\n", "yes.example"),
    ],
)
def test_host_is_found(request_: str, host: str) -> None:
    assert host_in_request(request_.encode()) == host


@pytest.mark.parametrize("data", [b"", b"G", b"GET", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\nHost: www.exam"])
def test_part_of_a_request_needs_more(data: bytes) -> None:
    assert host_in_request(data) is None


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH_9\r\n", b"\x05\x01\x00", b"hello world\n", b"GET /\r\n", b"EHLO me\r\n", b"\n"]
)
def test_what_is_no_request_has_no_host(data: bytes) -> None:
    assert host_in_request(data) == ""


@given(st.binary(max_size=200))
def test_any_octets_have_an_answer(data: bytes) -> None:
    host_in_request(data)
    host_in_request(b"GET / HTTP/1.1\r\n" + data)
