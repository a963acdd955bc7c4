"""Large answers to who reads them, reads them slowly, or not at all."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.unit.control.clash.rig import Rig, eventually, serving, talk
from tunproxy.control.clash.large_answers import PIECE, LargeAnswers

MEGABYTE = 1 << 20
ASKS = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Server:
    """Has a large answer that is the same for all, /same, and one that is made anew each time, /new."""

    def __init__(self, answers: LargeAnswers, size: int) -> None:
        self.answers = answers
        self.size = size
        self.same = bytes(range(256)) * (size // 256)
        self.transports: list[asyncio.Transport] = []

    async def answer(self, request: web.Request) -> web.Response:
        assert isinstance(request.transport, asyncio.Transport)
        self.transports.append(request.transport)
        body = self.same if request.path == "/same" else bytes(self.size)
        return web.Response(body=body, content_type="text/plain", headers={"X-More": "here"})

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        app = web.Application(middlewares=[self.answers.middleware])
        app.router.add_get("/{name}", self.answer)
        async with serving(app) as port:
            yield port


async def mute(port: int, path: bytes) -> asyncio.StreamWriter:
    """Ask, and read no more than the first line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 12)
    writer.write(ASKS % path)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    return writer


def test_answer_arrives_whole_with_its_headers() -> None:
    async def both() -> None:
        server = Server(LargeAnswers(), 3 * MEGABYTE)
        async with server.running() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            for _ in range(2):  # the connection stays
                async with client.get("/same") as answer:
                    found = await answer.read()
                    assert hashlib.sha256(found).digest() == hashlib.sha256(server.same).digest()
                    assert (answer.status, answer.content_type) == (200, "text/plain")
                    assert answer.headers["X-More"] == "here"
                    assert answer.headers["Content-Length"] == str(len(server.same))
            async with client.head("/same") as answer:
                assert answer.headers["Content-Length"] == str(len(server.same))
            assert len(client.connector._conns) == 1  # type: ignore[union-attr]
        assert server.answers.octets == 0

    asyncio.run(both())


def test_who_reads_nothing_is_hung_up_on_and_gives_room_to_others() -> None:
    async def both() -> None:
        server = Server(LargeAnswers(most=40 * MEGABYTE, patience=3), 16 * MEGABYTE)
        async with server.running() as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            mutes = [await mute(port, b"new") for _ in range(2)]
            async with client.get("/new") as answer:
                assert answer.status == 503
                assert "try again" in (await answer.json())["message"]

            async def is_over() -> bool:
                return server.answers.octets == 0

            await eventually(is_over)
            async with client.get("/new") as answer:
                assert len(await answer.read()) == server.size
            for each in mutes:
                each.close()

    asyncio.run(both())


def test_answer_that_many_get_counts_once_and_is_not_copied_for_each() -> None:
    async def both() -> None:
        server = Server(LargeAnswers(most=20 * MEGABYTE), 16 * MEGABYTE)
        async with server.running() as port:
            mutes = [await mute(port, b"same") for _ in range(10)]
            assert server.answers.octets == 16 * MEGABYTE
            assert len(server.transports) == 10
            assert all(each.get_write_buffer_size() <= 4 * PIECE for each in server.transports)
            for each in mutes:
                each.close()

            async def is_over() -> bool:
                return server.answers.octets == 0

            await eventually(is_over)

    asyncio.run(both())


def test_list_of_flows_is_sent_so_and_pages_may_read_it(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for number in range(1000):
            rig.worker.flow(f"{number}.example", 443)
        async with rig.client.get("/connections", headers={"Origin": "http://localhost:3000"}) as answer:
            assert answer.content_length is not None
            assert answer.content_length > PIECE
            assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
            assert len((await answer.json())["connections"]) == 1000

    talk(tmp_path, conversation)
