"""All flows at a glance, again and again, and how to end some of them."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.clash.rig import Rig, talk
from tunproxy import clock
from tunproxy.control import client
from tunproxy.control.clash.flow_shapes import id_of
from tunproxy.control.client import NotRunningError
from tunproxy.control.helm import flow_feed


async def looks(rig: Rig) -> AsyncIterator[dict[str, Any]]:
    """Yield what the stream says."""
    async with rig.local.get("/flows/watch?interval=1") as answer:
        assert answer.status == 200
        async for line in answer.content:
            yield json.loads(line)


async def until(
    told: AsyncIterator[dict[str, Any]], is_it: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """Return the first look that is so."""
    async with asyncio.timeout(20):
        async for look in told:
            if is_it(look):
                return look
    raise AssertionError("it has ended")


def test_stream_begins_with_all_flows_and_goes_on_with_what_is_new(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        first, other = rig.worker.flow("a.example", 80), rig.workers[1].flow("localhost", 443)
        told = looks(rig)
        look = await until(told, lambda look: True)
        assert {row["name"] for row in look["rows"]} == {"a.example", "localhost"}
        assert not look["has_more"]
        quiet = await until(told, lambda look: True)
        assert (quiet["rows"], quiet["octets"], quiet["gone"]) == ([], [], [])
        assert 0 < quiet["seconds"] - look["seconds"] < 60
        first.up, first.down = 3, 4
        assert (await until(told, lambda look: look["octets"]))["octets"] == [[int(first.number), 3, 4]]
        rig.worker.flows.alive.remove(first)
        first.ended_at, first.reason = clock.now() + 1, "closed"
        rig.worker.recent.closed(first)
        ended = await until(told, lambda look: look["rows"])
        assert [(row["number"], row["reason"], row["octets_down"]) for row in ended["rows"]] == [
            (int(first.number), "closed", 4)
        ]
        assert ended["gone"] == []  # it has been told how it ended
        rig.workers[1].flows.alive.remove(other)
        assert (await until(told, lambda look: look["gone"]))["gone"] == [int(other.number)]

    talk(tmp_path, conversation, workers=2)


def test_many_flows_come_in_parts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_feed, "MOST", 3)

    async def conversation(rig: Rig) -> None:
        for port in range(1, 8):
            rig.worker.flow("a.example", port).up = port
        told = looks(rig)
        parts = [await until(told, lambda look: True) for _ in range(3)]
        assert [(len(part["rows"]), part["has_more"]) for part in parts] == [(3, True), (3, True), (1, False)]
        assert len(parts[-1]["octets"]) == 7

    talk(tmp_path, conversation)


def test_worker_that_takes_a_place_begins_anew(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        life = rig.worker.flow("a.example", 80)
        told = looks(rig)
        await until(told, lambda look: look["rows"])
        rig.worker.helm._flows._run = "0123456789ab"  # what another worker would have
        assert (await until(told, lambda look: look["gone"]))["gone"] == [int(life.number)]
        assert (await until(told, lambda look: look["rows"]))["rows"][0]["id"].startswith("01234567-89ab")

    talk(tmp_path, conversation)


def test_flows_are_ended_by_their_ids(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        flows = [rig.worker.flow("a.example", port) for port in (1, 2, 3)]
        look = await until(looks(rig), lambda look: look["rows"])
        ids = [row["id"] for row in look["rows"]]
        stranger = id_of("0123456789ab", 3)
        assert await rig.ask("POST", "/flows/end", {"ids": [*ids[:2], stranger]}, 200) == {"ended": 2}
        assert rig.worker.flows.alive == flows[2:]
        for wrong in ({}, {"ids": "x"}, {"ids": ["x"]}, {"ids": [7]}):
            assert await rig.ask("POST", "/flows/end", wrong, 400) == {"message": "Body invalid"}
        assert await rig.get("/flows/watch?interval=soon", 400) == {"message": "Body invalid"}

    talk(tmp_path, conversation)


def test_our_client_watches_and_ends_flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_IDS", 2)  # more than fit into one request

    async def conversation(rig: Rig) -> None:
        for port in (1, 2, 3):
            rig.worker.flow("a.example", port)
        path = Path(rig.path)
        told = client.watch_flows(path, 0.5)
        look = await asyncio.to_thread(next, told)
        ids = [row["id"] for row in look["rows"]]
        assert await asyncio.to_thread(client.end_flows, path, ids) == 3
        assert sorted(rig.worker.flows.ended) == [1, 2, 3]
        gone: list[int] = []
        while len(gone) < 3:  # a look may have come before they were ended, or between
            gone += (await asyncio.to_thread(next, told))["gone"]
        assert sorted(gone) == [1, 2, 3]
        await asyncio.to_thread(told.close)  # type: ignore[attr-defined]

    talk(tmp_path, conversation)


def test_our_client_says_that_nobody_is_there_any_more(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()

        def hang_up() -> None:
            with sock.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")

        threading.Thread(target=hang_up, daemon=True).start()
        told = client.watch_flows(path, 0.5)
        assert next(told) == {}
        with pytest.raises(NotRunningError, match=r"^tunproxy has ended$"):
            next(told)
