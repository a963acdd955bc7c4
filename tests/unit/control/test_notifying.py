"""The watchdog hears of us exactly as long as the workers answer, and a reload is told from begin to end."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tunproxy.control.notifying import telling_alive, telling_reload
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.host.notify import ServiceManager


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        yield made


def play(
    listener: socket.socket,
    usec: int,
    then: Callable[[Callable[[], object], ServiceManager], Awaitable[None]],
    count: int = 1,
) -> None:
    """Run the watchdog for count workers; then gets what makes the first of them deaf, and the manager."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket_pair() for _ in range(count)]
        for _, theirs in pairs:
            answer_on(loop, theirs, {"policy": dict})
        manager = ServiceManager({"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": str(usec)})
        async with telling_alive(manager, [Questions(ours) for ours, _ in pairs]):
            await then(lambda: bool(loop.remove_reader(pairs[0][1])), manager)
        for ours, theirs in pairs:
            loop.remove_reader(theirs)
            with closing(ours), closing(theirs):
                pass

    asyncio.run(both())


async def next_word(listener: socket.socket) -> str:
    async with asyncio.timeout(20):
        return (await asyncio.get_running_loop().sock_recv(listener, 100)).decode()


def silent(listener: socket.socket) -> bool:
    try:
        listener.recv(100)
    except BlockingIOError:
        return True
    return False


@pytest.mark.parametrize("count", [1, 3])
def test_watchdog_is_told_again_and_again_while_workers_answer(listener: socket.socket, count: int) -> None:
    async def then(*_: object) -> None:
        for _ in range(4):
            assert await next_word(listener) == "WATCHDOG=1"

    play(listener, 30_000, then, count)


def test_watchdog_is_told_nothing_while_one_worker_is_deaf(listener: socket.socket) -> None:
    async def then(make_deaf: Callable[[], object], manager: ServiceManager) -> None:
        assert await next_word(listener) == "WATCHDOG=1"
        make_deaf()
        await asyncio.sleep(0.05)  # what was asked before has been answered
        while not silent(listener):
            pass
        await asyncio.sleep(0.3)
        assert silent(listener)

    play(listener, 30_000, then, count=2)


def test_watchdog_is_told_during_a_reload_though_a_worker_is_deaf(listener: socket.socket) -> None:
    async def then(make_deaf: Callable[[], object], manager: ServiceManager) -> None:
        make_deaf()
        with telling_reload(manager, "serving", lambda: ""):
            while await next_word(listener) != "WATCHDOG=1":
                pass
            assert await next_word(listener) == "WATCHDOG=1"

    play(listener, 30_000, then)


def test_watchdog_that_nobody_wants_is_silent(listener: socket.socket) -> None:
    async def then(*_: object) -> None:
        await asyncio.sleep(0.05)
        assert silent(listener)

    play(listener, 0, then)


@pytest.mark.parametrize(
    ("error", "status"), [("", "serving"), ("a.toml:1: wrong", "the old policy stays: a.toml:1: wrong")]
)
def test_reload_is_told_when_it_begins_and_when_it_is_over(
    listener: socket.socket, error: str, status: str
) -> None:
    found = ["of the reload before"]
    manager = ServiceManager({"NOTIFY_SOCKET": listener.getsockname()})
    with telling_reload(manager, "serving", lambda: found[0]):
        assert listener.recv(100).startswith(b"RELOADING=1\n")
        assert silent(listener)
        found[0] = error
    assert listener.recv(100).decode() == f"READY=1\nSTATUS={status}"
