"""Time that passes only when everybody waits."""

import asyncio
import socket
import time

import pytest

from tunproxy.testkit.virtual import Stuck, VirtualClock, VirtualLoop


def test_clock_moves_when_it_is_told_to() -> None:
    clock = VirtualClock()
    clock.advance(1.5)
    assert (clock(), clock.now) == (1.5, 1.5)
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)


def test_loop_sleeps_for_an_hour_at_once() -> None:
    loop = VirtualLoop()
    started = time.monotonic()

    async def sleepers() -> list[float]:
        async def sleep(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return loop.time()

        return await asyncio.gather(sleep(3600), sleep(1), asyncio.wait_for(sleep(10), 20))

    assert loop.run(sleepers()) == [3600, 1, 10]
    assert time.monotonic() - started < 600
    loop.close()


def test_loop_time_does_not_pass_while_octets_are_on_their_way() -> None:
    loop = VirtualLoop()

    async def talk() -> bytes:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            await loop.sock_sendall(theirs, b"hello")
            return await asyncio.wait_for(loop.sock_recv(ours, 100), 0.001)

    assert loop.run(talk()) == b"hello"
    assert loop.clock.now == 0
    loop.close()


def test_loop_that_waits_for_what_never_happens_is_stuck() -> None:
    loop = VirtualLoop()
    cleaned = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(Stuck, match="everybody waits for ever, 0 s after the beginning"):
        loop.run(wait())
    assert cleaned == [True]
    loop.settle()
    loop.close()
