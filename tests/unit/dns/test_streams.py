"""Port 53 over TCP: queries with lengths in front, in any number and pace."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.dns.world import (
    CLIENT,
    Scripted,
    Sockets,
    Turns,
    address_of,
    never,
    query,
    read,
    run,
    server_of,
    texts,
)
from tests.unit.waiting import until
from tests.unit.wire.frames import packed
from tunproxy.dns.server import DnsServer
from tunproxy.dns.streams import MAX_PIPELINED, DnsStreamUpstream, HijackStage
from tunproxy.flow.ports import OpenRequest
from tunproxy.flow.verdict import OPEN, FlowInfo
from tunproxy.upstream.base import OpenError
from tunproxy.upstream.opening import AsyncOpener

INFO = FlowInfo("tcp", CLIENT, 5000, packed("192.0.2.53"), 53)


@contextlib.asynccontextmanager
async def stream(
    server: DnsServer, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open one stream as a flow does, and hand it over as the client's end."""
    upstream = DnsStreamUpstream(server, **options)
    sock = await upstream.open(INFO, Sockets().dialer())
    assert sock.gettimeout() == 0
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield reader, writer
    finally:
        writer.close()
        await upstream.close()
        await server.close()
        assert len(upstream) == 0


def framed(wire: bytes) -> bytes:
    return len(wire).to_bytes(2, "big") + wire


async def receive(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


def test_queries_in_one_write_are_all_answered() -> None:
    async def test() -> None:
        async with stream(server_of(Scripted(address_of("192.0.2.1")))) as (reader, writer):
            writer.write(b"".join(framed(query(f"n{number}.example", id=number)) for number in range(10)))
            replies = [read(await receive(reader)) for _ in range(10)]
            assert sorted(reply.id for reply in replies) == list(range(10))
            assert all(reply.answer for reply in replies)

    run(test())


def test_query_in_single_octets_is_answered() -> None:
    async def test() -> None:
        async with stream(server_of(Scripted(address_of("192.0.2.1")))) as (reader, writer):
            for octet in framed(query()):
                writer.write(bytes((octet,)))
                await asyncio.sleep(0)
            assert texts(await receive(reader)) == ["www.example 300 A 192.0.2.1"]

    run(test())


def test_slow_question_does_not_hold_up_the_next() -> None:
    async def test() -> None:
        async def script(asked: bytes) -> bytes:
            await asyncio.sleep(0.1 if b"slow" in asked else 0)
            return address_of("192.0.2.1")(asked)

        async with stream(server_of(Scripted(script), attempt=10)) as (reader, writer):
            writer.write(framed(query("slow.example")) + framed(query("fast.example")))
            assert texts(await receive(reader))[0].startswith("fast")
            assert texts(await receive(reader))[0].startswith("slow")

    run(test())


def test_client_that_has_said_all_still_hears_the_answer() -> None:
    async def test() -> None:
        async def script(asked: bytes) -> bytes:
            await asyncio.sleep(0.02)
            return address_of("192.0.2.1")(asked)

        async with stream(server_of(Scripted(script), attempt=10)) as (reader, writer):
            writer.write(framed(query()))
            writer.write_eof()
            assert texts(await receive(reader))
            assert await reader.read() == b""

    run(test())


def test_answer_has_no_limit_of_datagrams() -> None:
    async def test() -> None:
        addresses = [f"192.0.2.{number}" for number in range(250)]
        async with stream(server_of(Scripted(address_of(*addresses)))) as (reader, writer):
            writer.write(framed(query()))
            assert len(texts(await receive(reader))) == 250

    run(test())


@pytest.mark.parametrize("octets", [b"\0\0", b"\0\5xxxxx", b"\0\x0c" + b"\xff" * 12])
def test_what_is_no_query_ends_the_stream(octets: bytes) -> None:
    async def test() -> None:
        async with stream(server_of(Scripted(never))) as (reader, writer):
            writer.write(octets)
            assert await asyncio.wait_for(reader.read(), 5) == b""

    run(test())


@pytest.mark.parametrize("octets", [b"", b"\0", b"\1\0half"])
def test_idle_stream_is_ended(octets: bytes) -> None:
    async def test() -> None:
        async with stream(server_of(Scripted(never)), idle_limit=0.05) as (reader, writer):
            writer.write(octets)
            assert await asyncio.wait_for(reader.read(), 5) == b""

    run(test())


def test_stream_that_waits_for_an_answer_is_not_idle() -> None:
    async def test() -> None:
        async def script(asked: bytes) -> bytes:
            await asyncio.sleep(0.15)
            return address_of("192.0.2.1")(asked)

        async with stream(server_of(Scripted(script), attempt=10), idle_limit=0.03) as (reader, writer):
            writer.write(framed(query()))
            assert texts(await receive(reader))
            assert await asyncio.wait_for(reader.read(), 5) == b""

    run(test())


def test_queries_under_way_are_bounded() -> None:
    async def test() -> None:
        transport = Scripted(never)
        async with stream(server_of(transport, attempt=10)) as (_, writer):
            writer.write(b"".join(framed(query(f"n{number}.example")) for number in range(2 * MAX_PIPELINED)))
            await until(lambda: len(transport.asked) == MAX_PIPELINED)
            await asyncio.sleep(0.2)
            assert len(transport.asked) == MAX_PIPELINED

    run(test())


def test_streams_are_bounded() -> None:
    async def test() -> None:
        upstream = DnsStreamUpstream(server_of(Scripted(never)), max_streams=2)
        socks = [await upstream.open(INFO, Sockets().dialer()) for _ in range(2)]
        with pytest.raises(OpenError, match="2 streams of queries are open"):
            await upstream.open(INFO, Sockets().dialer())
        socks.pop().close()
        await until(lambda: len(upstream) == 1)
        socks.append(await upstream.open(INFO, Sockets().dialer()))
        await upstream.close()
        for sock in socks:
            sock.close()

    run(test())


def test_flow_to_port_53_is_opened_to_us() -> None:
    """By the opener of the packet path, which looks closely at what an upstream returns."""

    async def test() -> None:
        upstream = DnsStreamUpstream(server_of(Scripted(address_of("192.0.2.1"))))
        stage = HijackStage(upstream, spared=frozenset([packed("192.0.2.54")]))
        verdict = stage.decide(INFO)
        assert verdict is not None
        assert (verdict.kind, verdict.upstream) == (OPEN, "dns")
        others = [("tcp", "192.0.2.53", 443), ("udp", "192.0.2.53", 53), ("tcp", "192.0.2.54", 53)]
        for protocol, target, port in others:
            assert stage.decide(FlowInfo(protocol, CLIENT, 5000, packed(target), port)) is None

        opened: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

        class Request(OpenRequest):
            def opened(self, sock: socket.socket, rest: bytes = b"", codec: object = None) -> None:
                opened.set_result(sock)

            def failed(self, error: int) -> None:
                opened.set_exception(OSError(error, "failed"))

        opener = AsyncOpener(asyncio.get_running_loop(), Turns())
        opener.open(INFO, verdict, Request())
        with await opened as sock:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, framed(query()))
            assert texts((await loop.sock_recv(sock, 4096))[2:]) == ["www.example 300 A 192.0.2.1"]
        opener.close()
        await upstream.close()

    run(test())
