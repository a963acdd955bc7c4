"""A client's connection before its flow begins."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.relay.world import pair, run
from tunproxy.relay.failures import HungUp
from tunproxy.relay.stream import TURN, Stream, Turns, read


async def turns_during(work: Callable[[], Awaitable[object]]) -> int:
    """Return how many turns others have while a coroutine works that never has to wait."""
    count = 0

    async def other() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    await asyncio.sleep(0)
    count = 0
    await work()
    waiting.cancel()
    return count


def test_others_have_a_turn_before_each_reading_of_what_is_there() -> None:
    async def talk() -> int:
        ours, theirs = pair()
        with ours, theirs:
            theirs.sendall(b"x")
            theirs.close()

            async def drain() -> None:
                while await read(ours):
                    pass

            return await turns_during(drain)

    assert run(talk) >= 2


def test_others_have_a_turn_when_work_has_taken_long() -> None:
    async def talk() -> int:
        turns = Turns()

        async def work() -> None:
            for _ in range(5):
                await turns.share()  # no time has passed, so that nobody needs to wait
            for _ in range(3):
                time.sleep(2 * TURN)
                await turns.share()

        return await turns_during(work)

    assert 3 <= run(talk) <= 5  # more than 3 where this process had to wait itself


def test_reads_as_much_as_is_needed() -> None:
    async def talk() -> bytes:
        ours, theirs = pair()
        with ours, theirs:
            stream = Stream(ours, "x")
            theirs.sendall(b"hel")
            await stream.need(3)
            theirs.sendall(b"lo")
            await stream.need(5)
            await stream.say(b"welcome")
            assert theirs.recv(100) == b"welcome"
            assert not stream.is_encrypted
            stream.finish()
            assert theirs.recv(100) == b""
            return stream.rest

    assert run(talk) == b"hello"


def test_end_in_the_middle_is_a_hang_up() -> None:
    async def talk() -> None:
        ours, theirs = pair()
        with ours:
            theirs.sendall(b"hel")
            theirs.close()
            await Stream(ours, "x").need(5)

    with pytest.raises(HungUp):
        run(talk)
