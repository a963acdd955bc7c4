"""Streams whose readers are slow, gone, or too many."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.unit.control.clash.rig import Rig, eventually, serving, talk
from tunproxy.control.clash import streams
from tunproxy.control.clash.refusals import Refusal
from tunproxy.control.clash.streams import Streams

MEGABYTE = 1 << 20


class Server:
    """Streams megabytes to whoever asks, and counts those that were made."""

    def __init__(self) -> None:
        self.made = 0
        self.ended = 0
        self.streams = Streams()

    async def objects(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.made += 1
                yield b'"' + b"x" * MEGABYTE + b'"'
        finally:
            self.ended += 1

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self.streams.send(request, self.objects())
        except Refusal as refusal:
            return web.Response(status=refusal.status)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_get("/", self.answer)
        async with serving(app) as port:
            yield port


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
PLAIN = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("request_", [UPGRADE, PLAIN])
def test_who_reads_nothing_is_not_sent_more_than_sockets_hold_and_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 1.0)

    async def both() -> None:
        server = Server()
        async with server.running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
            writer.write(request_)
            await reader.readline()

            async def is_over() -> bool:
                return server.ended == 1

            await eventually(is_over)
            assert server.made < 16  # a few megabytes fit into the buffers of two sockets
            writer.close()
        assert not server.streams._tasks

    asyncio.run(both())


def test_stream_ends_when_its_client_has_gone() -> None:
    async def both() -> None:
        server = Server()
        async with server.running() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            web_socket = await client.ws_connect("/", max_msg_size=2 * MEGABYTE)
            await web_socket.receive(10)
            await web_socket.close()
            answer = await client.get("/")
            await answer.content.readexactly(100)
            answer.close()

            async def is_over() -> bool:
                return server.ended == 2

            await eventually(is_over)
        assert not server.streams._tasks

    asyncio.run(both())


class Silent(Server):
    """Says something once, and then nothing."""

    async def objects(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"1"
            await asyncio.Event().wait()
        finally:
            self.ended += 1


@pytest.mark.parametrize("request_", [UPGRADE, PLAIN])
def test_client_of_a_silent_stream_is_missed(request_: bytes) -> None:
    async def both() -> None:
        server = Silent()
        async with server.running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_)
            await reader.readline()
            writer.close()

            async def is_over() -> bool:
                return server.ended == 1 and not server.streams._tasks

            await eventually(is_over)

    asyncio.run(both())


@pytest.mark.parametrize("request_", [UPGRADE, PLAIN])
@pytest.mark.parametrize("stays", [True, False])
def test_nothing_of_a_stream_goes_on_after_the_end(
    request_: bytes, stays: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def both() -> Silent:
        server = Silent()
        async with server.running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_)
            await reader.readline()
            if not stays:
                writer.close()
            began = asyncio.get_running_loop().time()
            await server.streams.close()
            assert server.ended == 1
            assert asyncio.get_running_loop().time() - began < 5
            await asyncio.sleep(0.05)
            mine = {asyncio.current_task()}
            assert [each for each in asyncio.all_tasks() - mine if "stream" in each.get_name()] == []
        writer.close()
        return server

    asyncio.run(both())
    assert caplog.records == []


def test_there_is_an_end_to_the_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST", 2)

    async def both() -> None:
        server = Server()
        async with server.running() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            answers = [await client.get("/") for _ in range(2)]
            async with client.get("/") as refused:
                assert refused.status == 503
            for each in answers:
                each.close()

    asyncio.run(both())


def test_what_a_client_says_is_not_kept(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        async with rig.client.ws_connect("/traffic") as web_socket:
            await web_socket.send_str("x" * 1000)
            assert (await web_socket.receive(10)).type is aiohttp.WSMsgType.TEXT
            await web_socket.send_str("x" * 10_000)
            while (await web_socket.receive(10)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert web_socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    talk(tmp_path, conversation)
