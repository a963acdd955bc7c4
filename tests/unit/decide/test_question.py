"""Targets that people write."""

import json

import pytest

from tunproxy.decide.question import Question, parse_question, question_from
from tunproxy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "network", "host", "address", "port", "shown"),
    [
        ("example.org:443", "tcp", "example.org", "", 443, "example.org:443"),
        ("Example.ORG.", "tcp", "example.org", "", 443, "example.org:443"),
        ("udp:1.1.1.1:53", "udp", "", "1.1.1.1", 53, "udp:1.1.1.1:53"),
        ("1.1.1.1:53/udp", "udp", "", "1.1.1.1", 53, "udp:1.1.1.1:53"),
        ("[2001:db8::1]:80/TCP", "tcp", "", "2001:db8::1", 80, "[2001:db8::1]:80"),
        ("example.org/icmp", "icmp", "example.org", "", 0, "icmp:example.org"),
        ("http://example.org/udp", "tcp", "example.org", "", 80, "example.org:80"),
        ("tcp:example.org:22", "tcp", "example.org", "", 22, "example.org:22"),
        ("icmp:2001:DB8::1", "icmp", "", "2001:db8::1", 0, "icmp:2001:db8::1"),
        ("[2001:db8::1]:80", "tcp", "", "2001:db8::1", 80, "[2001:db8::1]:80"),
        ("2001:db8::1", "tcp", "", "2001:db8::1", 443, "[2001:db8::1]:443"),
        ("https://joe@example.org/a:b?c", "tcp", "example.org", "", 443, "example.org:443"),
        ("http://example.org:8080", "tcp", "example.org", "", 8080, "example.org:8080"),
        ("http://example.org", "tcp", "example.org", "", 80, "example.org:80"),
        ("bücher.example:1", "tcp", "xn--bcher-kva.example", "", 1, "xn--bcher-kva.example:1"),
    ],
)
def test_target(text: str, network: str, host: str, address: str, port: int, shown: str) -> None:
    question = parse_question(text)
    assert question == Question(network, host, address, port)
    assert question.shown == shown


def test_what_else_is_said() -> None:
    question = parse_question(
        "192.0.2.1:80", source="[fd00::2]:5000", host="A.example", process="curl", uid=7
    )
    assert question == Question("tcp", "a.example", "192.0.2.1", 80, "fd00::2", 5000, "curl", 7)
    assert question_from(json.loads(json.dumps(question.to_json()))) == question


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        ("", {}, "it names no target"),
        (":443", {}, "it names no target"),
        ("example.org:0x50", {}, "'0x50' is no port"),
        ("example.org:65536", {}, "'65536' is no port"),
        ("[2001:db8::1", {}, "write [2001:db8::1]:443"),
        ("ftp://example.org", {}, "unknown scheme 'ftp'"),
        ("exa mple.org", {}, "neither a host name nor an address"),
        ("a..b", {}, "neither a host name nor an address"),
        ("example.org", {"host": "other.example"}, "it has a name already"),
        ("192.0.2.1", {"source": "me"}, "this is no address"),
        ("192.0.2.1", {"uid": -2}, "no such number"),
    ],
)
def test_what_cannot_be_meant(text: str, more: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_question(text, **more)  # type: ignore[arg-type]  # what a test hands in
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"network": "sctp"}, {"port": -2}, {"port": True}, {"address": "x"}, {"host": 1}, {"odd": 1},
     {"process": 3}, {"host": "", "address": ""}, {"uid": 1 << 40}, {"source": "here"}],
)  # fmt: skip
def test_document_that_is_no_question(change: dict[str, object]) -> None:
    document = {**parse_question("example.org").to_json(), **change}
    with pytest.raises(ConfigError, match="no question"):
        question_from(document)


def test_no_object_is_no_question() -> None:
    with pytest.raises(ConfigError, match="no object"):
        question_from([1])
