"""What failures say."""

import errno
import socket
import ssl

import pytest

from tunproxy.flow.codec import CodecError
from tunproxy.flow.verdict import FlowInfo
from tunproxy.upstream.base import REFUSED, SILENT, UNREACHABLE, DialUpstream, OpenError, Unreached
from tunproxy.upstream.failures import (
    errno_of,
    is_the_upstreams,
    learn_from,
    learn_from_success,
    words_of,
)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENETUNREACH, "x"), errno.ENETUNREACH),
        (OSError(errno.ENOENT, "x"), REFUSED),
        (OpenError("x", SILENT), SILENT),
        (socket.gaierror(socket.EAI_NONAME, "x"), UNREACHABLE),
        (TimeoutError(), SILENT),
        (ssl.SSLError(1, "x"), REFUSED),
        (ValueError("x"), REFUSED),
    ],
)
def test_errno_tells_the_client_what_is_known(error: Exception, number: int) -> None:
    assert errno_of(error) == number


@pytest.mark.parametrize(
    ("error", "is_its_own"),
    [
        (OpenError("wrong password"), True),
        (CodecError("the stream is corrupt"), True),
        (Unreached("x"), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (EOFError(), True),
        (ssl.SSLError(), True),
        (ConnectionRefusedError(), False),
        (OSError(errno.EHOSTUNREACH, "x"), False),
    ],
)
def test_failure_of_the_upstream_and_of_the_target_are_told_apart(error: Exception, is_its_own: bool) -> None:
    assert is_the_upstreams(error) is is_its_own


def untrusted() -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = "self-signed certificate."
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            untrusted(),
            "its certificate cannot be trusted: self-signed certificate "
            "(ca_file and server_name say what is trusted)",
        ),
        (ssl.SSLError(1, "no reason given"), "no TLS with it: no reason given"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (OpenError("wrong password"), "wrong password"),
        (EOFError(), "EOFError"),
    ],
)
def test_failure_is_put_into_words(error: Exception, words: str) -> None:
    assert words_of(error) == words


def test_failure_that_shows_a_lack_is_remembered() -> None:
    upstream = DialUpstream("x")
    learn_from(upstream, ConnectionRefusedError())
    learn_from(upstream, OpenError("wrong password"))
    assert upstream.knowledge.report() == {}
    learn_from(upstream, OpenError("no such command", lacks="udp"), "probed")
    fact = upstream.knowledge.fact("udp")
    assert fact is not None
    assert (fact.has, fact.how) == (False, "probed")


def test_success_with_ipv6_is_remembered() -> None:
    upstream = DialUpstream("x")
    learn_from_success(upstream, FlowInfo("tcp", bytes(4), 1, bytes(4), 80))
    learn_from_success(upstream, FlowInfo("tcp", bytes(4), 1, bytes(16), 80, "www.example.org"))
    assert upstream.knowledge.report() == {}
    learn_from_success(upstream, FlowInfo("tcp", bytes(4), 1, bytes(16), 80))
    assert upstream.knowledge.has("ipv6") is True
