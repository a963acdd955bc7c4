"""Addresses of resolvers, and sockets to them."""

import asyncio
import socket

import pytest

from tests.unit.dns.world import Sockets, run
from tunproxy.dns.transport import Endpoint, connect_udp, is_address, socket_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", True),
        ("192.0.2.1%eth0", False),
        ("192.0.2", False),
        ("dns.example", False),
        ("", False),
    ],
)
def test_address_is_told_from_a_name(text: str, expected: bool) -> None:
    assert is_address(text) is expected


def test_scope_becomes_an_interface() -> None:
    assert socket_address("192.0.2.1", 53) == ("192.0.2.1", 53)
    assert socket_address("fe80::1%lo", 53) == ("fe80::1", 53, 0, socket.if_nametoindex("lo"))
    assert socket_address("fe80::1%7", 53) == ("fe80::1", 53, 0, 7)
    with pytest.raises(OSError, match=r"no|No"):
        socket_address("fe80::1%nowhere0", 53)


def test_endpoint_with_an_address_asks_nobody() -> None:
    async def bootstrap(host: str) -> list[str]:
        raise AssertionError

    async def test() -> None:
        assert await Endpoint("192.0.2.1", 53, "", bootstrap).addresses() == ["192.0.2.1"]
        assert await Endpoint("dns.example", 53, "192.0.2.2", bootstrap).addresses() == ["192.0.2.2"]

    run(test())


def test_endpoint_with_a_name_asks_for_its_address() -> None:
    async def bootstrap(host: str) -> list[str]:
        return {"dns.example": ["192.0.2.1", "192.0.2.2"]}.get(host, [])

    async def test() -> None:
        endpoint = Endpoint("dns.example", 53, "", bootstrap)
        assert await endpoint.addresses() == ["192.0.2.1", "192.0.2.2"]
        for other in (Endpoint("no.example", 53, "", bootstrap), Endpoint("dns.example", 53)):
            with pytest.raises(OSError, match="no address for the resolver"):
                await other.addresses()

    run(test())


def test_udp_socket_is_the_makers_and_connected() -> None:
    async def test() -> None:
        sockets = Sockets()
        sock = await connect_udp(sockets, "127.0.0.1", 9)
        with sock:
            assert sock.getpeername() == ("127.0.0.1", 9)
            assert sock.gettimeout() == 0
        assert sockets.made == ["udp"]
        with pytest.raises(OSError, match=r"unreachable|[Ii]nvalid|[Pp]ermission"):
            await connect_udp(sockets, "255.255.255.255", 9)

    run(asyncio.wait_for(test(), 5))
