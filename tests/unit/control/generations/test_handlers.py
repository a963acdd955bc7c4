"""The API's part, over a Unix socket and over TCP."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.unit.control.generations.rig import Rig, play
from tests.unit.control.policies import written
from tunproxy.control.generations import handlers
from tunproxy.control.generations.desk import Desk
from tunproxy.control.generations.handlers import add_handlers

Ask = Callable[[str, str], Awaitable[dict[str, Any]]]


async def served(desk: Desk | None, path: Path, talk: Callable[[Ask, Ask], Awaitable[None]]) -> None:
    """Let talk ask over a Unix socket at path, and over TCP."""
    app = web.Application()
    add_handlers(app.router, desk)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    port = listener.getsockname()[1]
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as near,
        aiohttp.ClientSession() as far,
    ):

        def asking(session: aiohttp.ClientSession) -> Ask:
            async def ask(method: str, what: str) -> dict[str, Any]:
                async with session.request(method, f"http://127.0.0.1:{port}{what}") as answer:
                    found: dict[str, Any] = await answer.json()
                    return found

            return ask

        await talk(asking(near), asking(far))
    await runner.cleanup()


def test_what_is_asked_is_answered(tmp_path: Path) -> None:
    async def talk(rig: Rig) -> None:
        async def ask_all(ask: Ask, far: Ask) -> None:
            assert (await ask("GET", "/generations"))["running"] == 1
            written(tmp_path, 'password = "hunter22"\n')
            assert "hunter22" not in str(await ask("GET", "/generations/diff"))
            assert "hunter22" in str(await ask("GET", "/generations/diff?secrets=1"))
            refused = await far("GET", "/generations/diff?secrets=1")
            assert refused["error"].startswith("secrets are shown to nobody but who runs tunproxy")
            assert (await ask("POST", "/generations/confirm"))["error"].startswith(
                "there is nothing to confirm"
            )
            assert (await ask("POST", "/generations/undo"))["written"] == [str(rig.path)]
            for wrong in ("x", "../../etc/passwd", "99", "-1"):
                assert "error" in await ask("POST", f"/generations/undo?number={wrong}")
            assert (await ask("GET", "/generations/diff?old=1&new=x"))["error"].startswith(
                "'x' is no generation"
            )

        await served(rig.desk, tmp_path / "s", ask_all)

    play(written(tmp_path, ""), talk)


def test_members_of_the_group_see_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(rig: Rig) -> None:
        async def ask_all(ask: Ask, far: Ask) -> None:
            monkeypatch.setattr(os, "geteuid", lambda: 47_000)
            monkeypatch.setattr(handlers, "_PEER", Peer())
            assert "error" in await ask("GET", "/generations/diff?secrets=1")
            assert "error" not in await ask("GET", "/generations/diff")

        await served(rig.desk, tmp_path / "s", ask_all)

    play(written(tmp_path, ""), talk)


class Peer:
    """What the kernel says of another user."""

    size = 12

    def unpack(self, data: bytes) -> tuple[int, int, int]:
        return 1, 47_001, 47_001


def test_who_keeps_nothing_says_so(tmp_path: Path) -> None:
    async def ask_all(ask: Ask, far: Ask) -> None:
        for method, what in (("GET", ""), ("GET", "/diff"), ("POST", "/undo"), ("POST", "/confirm")):
            answer = await ask(method, f"/generations{what}")
            assert answer == {"error": "this tunproxy keeps no generations (tunproxy up does)"}

    asyncio.run(served(None, tmp_path / "s", ask_all))
