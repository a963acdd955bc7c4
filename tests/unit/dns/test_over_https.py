"""DNS over HTTPS against aiohttp's server."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.dns.test_over_tcp import certificate as certificate
from tests.unit.dns.test_over_tcp import serving
from tests.unit.dns.world import Sockets, query, respond, run
from tunproxy.dns.answers import GarbageError
from tunproxy.dns.over_https import HttpsTransport
from tunproxy.dns.transport import Endpoint

pytestmark = pytest.mark.needs("openssl")
TYPE = "application/dns-message"


@contextlib.asynccontextmanager
async def server(
    certificate: Path, answer: Callable[[bytes], web.Response], asked: list[bytes]
) -> AsyncIterator[int]:
    async def handle(request: web.Request) -> web.Response:
        assert (request.method, request.path) == ("POST", "/dns-query")
        assert request.headers["Content-Type"] == request.headers["Accept"] == TYPE
        asked.append(await request.read())
        return answer(asked[-1])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving(certificate))
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def transport_to(port: int, certificate: Path, sockets: Sockets, host: str = "dns.example") -> HttpsTransport:
    context = ssl.create_default_context(cafile=str(certificate))

    async def bootstrap(name: str) -> list[str]:
        assert name == "dns.example"
        return ["127.0.0.1"]

    return HttpsTransport(
        sockets, Endpoint(host, port, "", bootstrap), f"https://{host}:{port}/dns-query", context
    )


def test_query_is_posted_with_id_zero_over_one_connection_of_ours(certificate: Path) -> None:
    async def test() -> None:
        asked: list[bytes] = []
        sockets = Sockets()
        async with server(
            certificate, lambda data: web.Response(body=respond(data), content_type=TYPE), asked
        ) as port:
            transport = transport_to(port, certificate, sockets)
            sent = query(id=4711)
            assert await transport.exchange(sent) == respond(sent)
            assert await transport.exchange(sent) == respond(sent)
            await transport.close()
        assert [each[:2] for each in asked] == [b"\0\0"] * 2
        assert sockets.made == ["tcp"]

    run(test())


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (lambda data: web.Response(status=404), "HTTP status 404"),
        (lambda data: web.Response(status=302, headers={"Location": "https://192.0.2.1/"}), "status 302"),
        (lambda data: web.Response(text="<html>"), "answered with text/plain"),
        (lambda data: web.Response(body=b"garbage", content_type=TYPE), "7 octets that are no response"),
        (lambda data: web.Response(body=bytes(70_000), content_type=TYPE), "more than 65535 octets"),
        (lambda data: web.Response(body=respond(query("other.example")), content_type=TYPE), "no response"),
    ],
)
def test_garbage_is_called_so(certificate: Path, response: Callable[[bytes], web.Response], why: str) -> None:
    async def test() -> None:
        async with server(certificate, response, []) as port:
            transport = transport_to(port, certificate, Sockets())
            with pytest.raises(GarbageError, match=why):
                await transport.exchange(query())
            await transport.close()

    run(test())


def test_server_that_cannot_prove_its_name_is_told_nothing(certificate: Path) -> None:
    async def test() -> None:
        asked: list[bytes] = []
        async with server(certificate, lambda data: web.Response(), asked) as port:
            transport = HttpsTransport(
                Sockets(),
                Endpoint("other.example", port, "127.0.0.1"),
                f"https://other.example:{port}/dns-query",
                ssl.create_default_context(cafile=str(certificate)),
            )
            with pytest.raises(OSError, match="certificate verify failed"):
                await transport.exchange(query())
            await transport.close()
        assert asked == []

    run(test())


def test_server_that_is_not_there_is_an_error_of_the_network(certificate: Path) -> None:
    async def test() -> None:
        async with server(certificate, lambda data: web.Response(), []) as port:
            pass
        transport = transport_to(port, certificate, Sockets())
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await transport.exchange(query())
        await transport.close()

    run(test())


def test_connection_that_the_server_has_closed_is_made_again() -> None:
    """A POST is sent twice only where the first met a connection that was at its end."""

    async def test() -> None:
        lines: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines.append(await reader.readuntil(b"\r\n\r\n"))
            asked = await reader.readexactly(len(query()))
            if len(lines) > 1:
                body = respond(asked)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/dns-query"
        transport = HttpsTransport(Sockets(), Endpoint("127.0.0.1", port), url, ssl.create_default_context())
        assert await transport.exchange(query(id=7)) == respond(query(id=7))
        assert len(lines) == 2
        await transport.close()
        listening.close()

    run(test())


def test_server_that_hangs_up_on_everybody_is_not_tried_for_ever() -> None:
    async def test() -> None:
        count = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            count += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/dns-query"
        transport = HttpsTransport(Sockets(), Endpoint("127.0.0.1", port), url, ssl.create_default_context())
        with pytest.raises(OSError, match="disconnected"):
            await transport.exchange(query())
        assert count == 2
        await transport.close()
        listening.close()

    run(test())
