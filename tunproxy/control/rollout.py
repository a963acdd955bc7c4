"""A new policy for all workers: each builds it, and all use it, or none does.

    supervisor ── prepare ──▶ each worker builds, and keeps it aside
               ── commit ───▶ each uses it
               ── abandon ──▶ each drops it, because one has refused

Where there is one worker, it is asked to reload, and does both at once.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.questions import GoneError, NoAnswerError, Questions
from tunproxy.dns.fake_store import StoreFiles
from tunproxy.errors import TunproxyError

# our choices
PATIENCE: Final = 120.0  # seconds for a worker to build; a million rules take two or three
ACCEPT_SECONDS: Final = 10.0  # for it to begin; it has to take what may be many megabytes
LOOK_SECONDS: Final = 0.05  # between two looks at whether it has
CHANCES: Final = 4  # for all workers to be there, when one is just being replaced
REPLACE_SECONDS: Final = 0.5


class ReloadError(TunproxyError):
    """The new policy cannot be used; the old one is in force."""


async def roll_out(workers: Sequence[Questions], fd: int, opened: StoreFiles | None) -> dict[str, object]:
    """Have all workers use the policy of the sources in fd, a file in memory; return its state.

    opened are the files of fake addresses, where the policy has any. workers may change in place meanwhile.
    Raises ReloadError and NoAnswerError; then nobody uses it.
    """
    for _ in range(CHANCES - 1):
        with contextlib.suppress(GoneError):
            return await _build_anew(workers, fd, opened)
        await asyncio.sleep(REPLACE_SECONDS)
    return await _build_anew(workers, fd, opened)


async def _build_anew(workers: Sequence[Questions], fd: int, opened: StoreFiles | None) -> dict[str, object]:
    """Have all workers use the policy of the sources in fd; return its state."""
    if opened is not None:  # the first one hands out fake addresses for all
        await workers[0].ask("fake-file", opened.fd, opened.lock_fd)
    if len(workers) == 1:
        return await build_in(workers[0], fd, "reload")
    return await _build_in_all(workers, fd)


async def _build_in_all(workers: Sequence[Questions], fd: int) -> dict[str, object]:
    """Have all build the policy, one after the other, and use it then; or none of them."""
    try:
        for worker in workers:
            await build_in(worker, fd, "prepare")
    except TunproxyError:
        for worker in workers:
            with contextlib.suppress(NoAnswerError):
                await worker.ask("abandon")
        raise
    found: dict[str, Any] = {}
    for worker in list(workers):
        with contextlib.suppress(NoAnswerError):  # whoever takes its place catches up
            told = await worker.ask("commit")
            found = max(found, told, key=lambda each: each.get("generation", 0))
    return found


async def build_in(worker: Questions, fd: int, how: str) -> dict[str, object]:
    """Have a worker build the policy of the sources in fd, and do with it as how says; return its state.

    how is "reload" or "prepare". Raises ReloadError where it cannot be built, and NoAnswerError.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    asked = await worker.ask(how, fd, patience=ACCEPT_SECONDS)
    if asked.get("is_accepted") is not True:
        raise NoAnswerError("the worker is building a policy already (try again)")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                # Busy as it is, it may be long in answering; that it has not answered yet says nothing.
                state: dict[str, Any] = await worker.ask("policy", patience=PATIENCE)
                if not state.get("is_building"):
                    break
                await asyncio.sleep(LOOK_SECONDS)
            if state.get("error"):
                raise ReloadError(str(state["error"]))
            return state
    raise NoAnswerError(f"the worker has not built the policy within {PATIENCE:g} s")
