"""DNS over UDP against a resolver of the test."""

import asyncio

import pytest

from tests.unit.dns.world import Sockets, peer, query, respond, run
from tunproxy.dns.answers import GarbageError
from tunproxy.dns.over_udp import MAX_STRAY, UdpTransport
from tunproxy.dns.transport import Endpoint


def test_response_comes_back_over_sockets_of_ours() -> None:
    async def test() -> None:
        sockets = Sockets()
        async with peer(lambda asked: [respond(asked, "www.example 60 A 192.0.2.1")]) as resolver:
            transport = UdpTransport(sockets, Endpoint("127.0.0.1", resolver.port))
            asked = query()
            assert await transport.exchange(asked) == respond(asked, "www.example 60 A 192.0.2.1")
        assert sockets.made == ["udp"]

    run(test())


def test_each_query_has_a_port_of_its_own() -> None:
    async def test() -> None:
        async with peer(lambda asked: [respond(asked)]) as resolver:
            transport = UdpTransport(Sockets(), Endpoint("127.0.0.1", resolver.port))
            await asyncio.gather(*(transport.exchange(query()) for _ in range(20)))
            assert len(set(resolver.sources)) > 15

    run(test())


def test_response_to_something_else_is_passed_over() -> None:
    async def test() -> None:
        def answer(asked: bytes) -> list[bytes]:
            forged = bytes((asked[0] ^ 0xFF,)) + respond(asked, "www.example 60 A 203.0.113.66")[1:]
            return [forged] * (MAX_STRAY - 1) + [respond(asked)]

        async with peer(answer) as resolver:
            asked = query()
            assert await UdpTransport(Sockets(), Endpoint("127.0.0.1", resolver.port)).exchange(
                asked
            ) == respond(asked)

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: [asked[:2] + b"garbage"],
        lambda asked: [asked],
        lambda asked: [respond(query("other.example", id=int.from_bytes(asked[:2], "big")))],
        lambda asked: [b"\0\0garbage" if asked[:2] != b"\0\0" else b"\1\1garbage"] * MAX_STRAY,
    ],
    ids=["id-only", "echo", "other-question", "flood"],
)
def test_garbage_is_called_so_at_once(answer) -> None:  # type: ignore[no-untyped-def]
    async def test() -> None:
        async with peer(answer) as resolver:
            with pytest.raises(GarbageError, match="octets that are no response"):
                await UdpTransport(Sockets(), Endpoint("127.0.0.1", resolver.port)).exchange(query())

    run(test())


def test_datagram_of_somebody_else_does_not_reach_us() -> None:
    """The socket is connected: the kernel drops what comes from another port."""

    async def test() -> None:
        asked = query()

        async with peer() as other, peer() as resolver:
            transport = UdpTransport(Sockets(), Endpoint("127.0.0.1", resolver.port))
            task = asyncio.create_task(transport.exchange(asked))
            while not resolver.sources:
                await asyncio.sleep(0.01)
            loop = asyncio.get_running_loop()
            forger, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=("127.0.0.1", resolver.sources[0])
            )
            forger.sendto(respond(asked, "www.example 60 A 203.0.113.66"))
            assert not (await asyncio.wait((task,), timeout=0.1))[0]
            forger.close()
            task.cancel()
            await asyncio.wait((task,))
            assert other.queries == []

    run(test())


def test_port_that_is_closed_is_noticed() -> None:
    async def test() -> None:
        async with peer() as resolver:
            port = resolver.port
        with pytest.raises(ConnectionRefusedError):
            await UdpTransport(Sockets(), Endpoint("127.0.0.1", port)).exchange(query())

    run(test())


def test_address_without_a_route_is_followed_by_the_next() -> None:
    """A name may lead to addresses of a family that this host does not have."""

    async def test() -> None:
        async with peer(lambda asked: [respond(asked)]) as resolver:

            async def bootstrap(name: str) -> list[str]:
                return ["255.255.255.255", "127.0.0.1"]  # whom nobody may ask without SO_BROADCAST

            transport = UdpTransport(Sockets(), Endpoint("dns.example", resolver.port, "", bootstrap))
            assert await transport.exchange(query(id=7)) == respond(query(id=7))

    run(test())
