"""Datagrams of a lab's host and of targets behind it: what the tests of every way for UDP have in common."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import dns.message
import dns.rrset
import pytest

from tests.interop.proxies import TARGET, TARGET6, ProxyLab

UDP_SEGMENT = 103  # linux/udp.h
WAIT = 20.0  # seconds for an answer on a busy machine
both_families = pytest.mark.parametrize("target", [TARGET, TARGET6], ids=["ipv4", "ipv6"])


def client_of(lab: ProxyLab, target: str) -> socket.socket:
    """Return a socket of the host's, of target's family."""
    client = lab.host.datagram("::" if ":" in target else "0.0.0.0")
    client.settimeout(WAIT)
    return client


def exchange(client: socket.socket, target: str, port: int, data: bytes) -> None:
    """Send data to somebody who sends it back; fail unless it comes back whole, from where it went."""
    client.sendto(data, (target, port))
    got, source = client.recvfrom(65536)
    assert source[:2] == (target, port)
    assert got == data


def refusal(client: socket.socket) -> float:
    """Send until the client is told that nobody is there; return the seconds it took."""
    began = time.monotonic()
    while time.monotonic() - began < WAIT:
        try:
            client.send(b"meanwhile")
            client.recv(100)
        except TimeoutError:
            continue
        except ConnectionRefusedError:
            break
    return time.monotonic() - began


def serve(sock: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    """Answer datagrams until sock is closed."""
    sock.settimeout(None)

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                data, client = sock.recvfrom(65536)
                if client is None:
                    return  # closed while we waited
                sock.sendto(answer(data), client)

    threading.Thread(target=run, daemon=True).start()


def resolve(query: bytes) -> bytes:
    """Answer a question for an address."""
    question = dns.message.from_wire(query)
    answer = dns.message.make_response(question)
    answer.answer.append(dns.rrset.from_text(question.question[0].name, 60, "IN", "A", "203.0.113.80"))
    return answer.to_wire()
