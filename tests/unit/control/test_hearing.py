"""Signals, as one thread waits for them."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tunproxy.control.hearing import hearing

HEARD = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    yield
    while signal.sigtimedwait(HEARD, 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heard(*numbers: int, count: int) -> list[int]:
    """Return what is taken of the signals that another thread sends to this process, count of them."""
    taken: list[int] = []

    async def hear() -> None:
        enough = asyncio.Event()

        def take(number: int) -> None:
            taken.append(number)
            if len(taken) >= count:
                enough.set()

        with hearing(HEARD, take):
            sender = threading.Thread(target=lambda: [os.kill(os.getpid(), number) for number in numbers])
            sender.start()
            async with asyncio.timeout(10):
                await enough.wait()
            sender.join()

    asyncio.run(hear())
    return taken


def test_each_kind_is_taken_on_the_loop() -> None:
    assert sorted(heard(*HEARD, count=2)) == sorted(HEARD)


def test_the_end_is_no_signal_and_nothing_is_left_of_the_thread() -> None:
    before = set(threading.enumerate())  # some of which may be of earlier tests, and about to end
    assert heard(signal.SIGUSR2, count=1) == [signal.SIGUSR2]
    assert set(threading.enumerate()) <= before
    assert not set(HEARD) & signal.sigpending()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_one_that_comes_later_ends_nobody() -> None:
    heard(signal.SIGUSR1, count=1)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.sigpending() & set(HEARD) == {signal.SIGUSR1}
