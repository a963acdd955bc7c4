"""Captures over HTTP at a Unix socket, and what wants them."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import dpkt.pcapng  # type: ignore[import-untyped]
import pytest
from aiohttp import web

from tests.unit.control.packets.crew import Worker, packet, questions_of
from tests.unit.waiting import until
from tunproxy.control.packets import service
from tunproxy.control.packets.blocks import Wish
from tunproxy.control.packets.service import PacketService, wish_of
from tunproxy.errors import ConfigError


class Served:
    """A service at path, and its workers; call asks it."""

    def __init__(self, path: Path, workers: list[Worker]) -> None:
        self.path = path
        self.workers = workers
        self.service = PacketService(questions_of(workers))

    @asynccontextmanager
    async def running(self, *, port: bool = False) -> AsyncIterator[aiohttp.ClientSession]:
        app = web.Application()
        self.service.add_to(app.router)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site: web.BaseSite = (
            web.TCPSite(runner, "127.0.0.1", 0) if port else web.UnixSite(runner, str(self.path))
        )
        await site.start()
        base = "http://localhost"
        if port:
            base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        connector = None if port else aiohttp.UnixConnector(str(self.path))
        try:
            async with aiohttp.ClientSession(base, connector=connector) as session:
                yield session
        finally:
            await runner.cleanup()
            for worker in self.workers:
                worker.die()


def scenario(
    path: Path, what: Callable[[Served, aiohttp.ClientSession], Awaitable[None]], *, port: bool = False
) -> None:
    async def run() -> None:
        served = Served(path / "x.sock", [Worker()])
        async with served.running(port=port) as session:
            await what(served, session)

    asyncio.run(run())


async def captures(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with session.get("/captures") as response:
        found: list[dict[str, Any]] = (await response.json())["captures"]
        return found


def test_capture_is_a_file_that_somebody_else_may_end(tmp_path: Path) -> None:
    async def what(served: Served, session: aiohttp.ClientSession) -> None:
        async with session.get("/capture?filter=port:443&snaplen=99") as response:
            assert (response.status, response.headers["X-Capture"]) == (200, "1")
            assert response.headers["Content-Type"] == "application/x-pcapng"
            served.workers[0].ship(packet(1), packet(2, b"more"))
            while (await captures(session))[0]["packets"] < 2:
                await asyncio.sleep(0.01)
            [running] = await captures(session)
            assert (running["number"], running["filter"]) == (1, "port:443")
            async with session.delete("/captures/1") as ended:
                assert (ended.status, await ended.json()) == (200, {"ended": 1})
            await served.workers[0].end_when_told(2)
            octets = await response.read()
        assert [data for _, data in dpkt.pcapng.Reader(io.BytesIO(octets))] == [b"packet", b"more"]
        assert await captures(session) == []
        assert served.workers[0].asked == [{"filter": "port:443", "snaplen": 99}]

    scenario(tmp_path, what)


def test_capture_ends_with_its_client(tmp_path: Path) -> None:
    async def what(served: Served, session: aiohttp.ClientSession) -> None:
        response = await session.get("/capture")
        assert len(await captures(session)) == 1
        response.close()
        channel = served.workers[0].channels[0]
        channel.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(channel, 1) == b""
        await until(lambda: not served.service._running)

    scenario(tmp_path, what)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("filter=hots:x", "no key 'hots'"),
        ("count=-1", "cannot capture with count '-1'"),
        ("snaplen=1000000", "no number from 1 to 262144"),
        ("size=x", "cannot capture with size 'x'"),
        ("seconds=nan", "cannot capture for 'nan' seconds"),
        ("seconds=soon", "cannot capture for 'soon' seconds"),
    ],
)
def test_what_makes_no_sense_is_refused(query: str, says: str, tmp_path: Path) -> None:
    async def what(served: Served, session: aiohttp.ClientSession) -> None:
        async with session.get(f"/capture?{query}") as response:
            assert response.status == 400
            assert says in (await response.json())["error"]
        assert served.workers[0].asked == []

    scenario(tmp_path, what)


def test_refusal_of_a_worker_is_passed_on(tmp_path: Path) -> None:
    async def what(served: Served, session: aiohttp.ClientSession) -> None:
        served.workers[0].refusal = "there are too many"
        async with session.get("/capture") as response:
            assert (response.status, await response.json()) == (503, {"error": "there are too many"})
        assert await captures(session) == []

    scenario(tmp_path, what)


def test_too_many_captures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST", 1)

    async def what(served: Served, session: aiohttp.ClientSession) -> None:
        async with session.get("/capture"), session.get("/capture") as second:
            assert second.status == 400
            assert "1 captures are running" in (await second.json())["error"]

    scenario(tmp_path, what)


@pytest.mark.parametrize("number", ["7", "x", "-1", "1" * 30])
def test_capture_that_there_is_not_cannot_be_ended(number: str, tmp_path: Path) -> None:
    async def what(served: Served, session: aiohttp.ClientSession) -> None:
        async with session.delete(f"/captures/{number}") as response:
            assert response.status == 404

    scenario(tmp_path, what)


def test_nobody_gets_packets_over_tcp(tmp_path: Path) -> None:
    async def what(served: Served, session: aiohttp.ClientSession) -> None:
        for method, path in (("GET", "/capture"), ("GET", "/captures"), ("DELETE", "/captures/1")):
            async with session.request(method, path) as response:
                assert response.status == 403
        assert served.workers[0].asked == []

    scenario(tmp_path, what, port=True)


def test_wish_is_what_a_query_says() -> None:
    query = {"filter": "tcp  port:80", "snaplen": "64", "count": "5", "seconds": "1.5", "size": "1000"}
    assert wish_of(query) == Wish("tcp port:80", 64, 5, 1.5, 1000)
    assert wish_of({}) == Wish()
    with pytest.raises(ConfigError):
        wish_of({"seconds": "-1"})
