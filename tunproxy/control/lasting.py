"""How long a supervisor works: until a signal asks it to stop, or its workers cannot be kept alive."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any  # futures of different kinds

from tunproxy.control.crew import Crew
from tunproxy.control.hearing import hearing
from tunproxy.control.process import SIGNALS
from tunproxy.control.reload import Reloader


async def until_the_end(
    crew: Crew,
    reloader: Reloader,
    duties: Iterable[AbstractAsyncContextManager[None]],
    hurry: Callable[[], None] = lambda: None,
) -> str | None:
    """Wait for the signal that ends us, with duties going on. SIGNALS must be blocked, and stay so.

    hurry is called for each one that comes after it, while duties end. Return None then, and why where the
    workers cannot be kept alive.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    has_terminal = _has_terminal()
    reloads: set[asyncio.Task[None]] = set()

    def on_signal(number: int) -> None:
        if number == signal.SIGCHLD:
            crew.on_child()
        elif ended.done():
            hurry()
        elif number == signal.SIGHUP and (not has_terminal or _has_terminal()):
            task = loop.create_task(reloader.reload_and_tell("SIGHUP"))
            reloads.add(task)
            task.add_done_callback(reloads.discard)
        else:
            ended.set_result(None)

    with hearing(SIGNALS, on_signal):
        async with contextlib.AsyncExitStack() as stack:
            lost = await stack.enter_async_context(crew.working())
            crew.on_child()  # one may have ended before
            for duty in duties:
                await stack.enter_async_context(duty)
            waiting: list[asyncio.Future[Any]] = [ended, lost]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return lost.result() if lost.done() else None


def _has_terminal() -> bool:
    """Tell whether there is a terminal that we belong to. One that hung up is none any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
