"""Requests, for people."""

from tunproxy.relay.requests import CONNECT, Request


def test_request_reads_as_its_target() -> None:
    assert str(Request(CONNECT, "http", "example.com", 443, "joe")) == "example.com:443"
    assert str(Request(CONNECT, "http", "2001:db8::7", 443, "joe")) == "[2001:db8::7]:443"
