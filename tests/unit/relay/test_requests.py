"""Requests, for people."""

from tunproxy.relay.requests import CONNECT, Request


def test_request_reads_as_its_target() -> None:
    assert str(Request(CONNECT, "http", "example.com", 443, "joe")) == "example.com:443"
    assert str(Request(CONNECT, "http", "2001:db8::7", 443, "joe")) == "[2001:db8::7]:443"


def test_request_of_whatever_host_stays_in_its_line() -> None:
    forged = Request(CONNECT, "socks5", "a\nflow joe: closed\x1b[2J\u202e", 443, "joe")
    assert str(forged) == r"[a\nflow joe: closed\x1b[2J\u202e]:443"
