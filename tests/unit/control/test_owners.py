"""The worker asks whose a flow is, and the supervisor says."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from tunproxy.control import owners
from tunproxy.control.owners import AskedOwners, tell_owners
from tunproxy.control.questions import socket_pair

LOOPBACK = bytes([127, 0, 0, 1])


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[AskedOwners, socket.socket]]:
    loop = asyncio.get_running_loop()
    ours, theirs = socket_pair()
    stop = tell_owners(loop, ours)
    source = AskedOwners(theirs, loop)
    yield source, theirs
    source.close()
    stop()
    ours.close()


def test_owner_of_a_connection_is_found() -> None:
    async def ask() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)) as client:
                here = client.getsockname()[1]
                async with asking() as (source, _):
                    assert source.look("tcp", LOOPBACK, here, LOOPBACK, port) is None
                    found = await source.search("tcp", LOOPBACK, here, LOOPBACK, port)
                    assert (found.pid, found.uid) == (os.getpid(), os.getuid())
                    assert found.path == os.path.realpath("/proc/self/exe")

    asyncio.run(ask())


def test_nobody_is_the_owner_of_what_is_not_there() -> None:
    async def ask() -> None:
        async with asking() as (source, _):
            found = await source.search("udp", bytes(4), 1, LOOPBACK, 2)
            assert (found.name, found.uid) == (None, -1)
            assert "no socket of this network namespace" in found.why
            ping = source.look("icmp", LOOPBACK, 0, LOOPBACK, 0)
            assert ping is not None
            assert "pings" in ping.why

    asyncio.run(ask())


@pytest.mark.parametrize(
    "message",
    [
        b"{",
        b"7",
        b'{"id": 1}',
        b'{"id": 1, "flow": 5}',
        b'{"id": 1, "flow": ["icmp", "7f000001", 1, "7f000001", 2]}',
        b'{"id": 1, "flow": ["tcp", "7f0000", 1, "7f000001", 2]}',
        b'{"id": 1, "flow": ["tcp", "x", 1, "7f000001", 2]}',
        b'{"id": 1, "flow": ["tcp", "7f000001", 70000, "7f000001", 2]}',
        b'{"id": null, "flow": ["tcp", "7f000001", 7, "7f000001", 2]}',
    ],
)
def test_nonsense_is_not_answered_and_harms_nobody(message: bytes) -> None:
    async def ask() -> None:
        async with asking() as (source, sock):
            sock.send(message)
            found = await source.search("tcp", LOOPBACK, 1, LOOPBACK, 2)
            assert found.why

    asyncio.run(ask())


def test_silence_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "PATIENCE", 0.05)
    monkeypatch.setattr(owners, "MAX_ASKED", 2)

    async def ask() -> None:
        ours, theirs = socket_pair()
        source = AskedOwners(theirs, asyncio.get_running_loop())
        with closing(ours), closing(source):
            flows = [source.search("tcp", LOOPBACK, port, LOOPBACK, 2) for port in range(3)]
            found = await asyncio.gather(*flows)
            assert [each.why.split()[0] for each in found] == ["whoever", "whoever", "too"]
            assert json.loads(ours.recv(1000))["flow"][0] == "tcp"
            waiting = asyncio.ensure_future(source.search("tcp", LOOPBACK, 9, LOOPBACK, 2))
            await asyncio.sleep(0)
        assert "does not answer" in (await waiting).why

    asyncio.run(ask())


def test_supervisor_that_is_gone_leaves_nobody_waiting() -> None:
    async def ask() -> None:
        ours, theirs = socket_pair()
        source = AskedOwners(theirs, asyncio.get_running_loop())
        ours.close()
        await asyncio.sleep(0)
        found = await source.search("tcp", LOOPBACK, 1, LOOPBACK, 2)
        assert "does not answer" in found.why
        source.close()

    asyncio.run(ask())
