"""Addresses as the kernel writes them."""

import socket

import pytest

from tests.unit.wire.frames import packed
from tunproxy.datagram.sockaddr import address_of, name_of, pack, packed_of, port_of


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_name_holds_address_and_port(host: str) -> None:
    name = name_of(packed(host), 5353)
    assert len(name) == (28 if ":" in host else 8)
    assert packed_of(name) == packed(host)
    assert port_of(name) == 5353
    assert address_of(packed(host), 5353) == (host, 5353)


def test_names_of_one_address_differ_by_port() -> None:
    assert name_of(packed("192.0.2.1"), 1) != name_of(packed("192.0.2.1"), 256)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "fe80::1%lo"])
def test_pack_takes_what_sockets_say(host: str) -> None:
    bare = host.partition("%")[0]
    assert pack(host) == socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, bare)


@pytest.mark.parametrize("host", ["", "example.org", "1.2.3", "::g"])
def test_pack_of_something_else_is_empty(host: str) -> None:
    assert pack(host) == b""
