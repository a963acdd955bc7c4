"""Questions to a worker that say what they are about, and answers too long for a message.

Both stand in one file in memory, in JSON: the supervisor writes what the question is about into it and sends
its descriptor along (``questions``); the worker writes the answer in its place, and says how long it is.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar  # Any as json gives it

from tunproxy.control.questions import ANSWER_SECONDS, NoAnswerError, Questions
from tunproxy.errors import TunproxyError

# our choices
MAX_LETTER: Final = 32 << 20  # octets: what 100,000 rules said
TURN_SECONDS: Final = 0.0002
PATIENCE: Final = 8.0  # seconds: a name may have to be resolved first

About = Mapping[str, Any]
T = TypeVar("T")


def answering(function: Callable[[About], object]) -> Callable[[int], object]:
    """Return what answers a question that came with a file, by function, which may be a coroutine.

    A TunproxyError of its is told to whoever asked.
    """

    async def answer(fd: int) -> dict[str, object]:
        with os.fdopen(fd, "r+b") as file:
            about = json.loads(file.read(MAX_LETTER))
            try:
                found = function(about)
                document = await found if asyncio.iscoroutine(found) else found
            except TunproxyError as error:
                document = {"error": str(error)}
            said = await aside(_dumped, document)
            file.seek(0)
            file.truncate()
            file.write(said)
            return {"length": len(said)}

    return answer


async def ask_at_length(worker: Questions, what: str, about: About, *more: int) -> dict[str, Any]:
    """Return the worker's answer; raises NoAnswerError. ``error`` in it says why there is none.

    more are descriptors that go along.
    """
    fd = os.memfd_create("tunproxy-question")
    with os.fdopen(fd, "w+b") as file:
        file.write(json.dumps(about).encode())
        file.flush()
        file.seek(0)
        await worker.ask(what, fd, *more, patience=max(PATIENCE, ANSWER_SECONDS))
        file.seek(0)
        try:
            document = json.loads(file.read(MAX_LETTER))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise NoAnswerError("the worker answers nonsense")
        return document


class _ShortTurns:
    """Threads take short turns within the context, of which there may be several at a time."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._count = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if self._count == 0:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, TURN_SECONDS))
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0:
                sys.setswitchinterval(self._before)


_turns: Final = _ShortTurns()


async def aside(function: Callable[..., T], *arguments: object) -> T:
    """Return what function returns, called in a thread, so that packets go on meanwhile.

    The thread is made for it: such questions are rare. It and the packet path take short turns.
    """
    with _turns, ThreadPoolExecutor(1, "aside") as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


def _dumped(document: object) -> bytes:
    said = json.dumps(document).encode()
    if len(said) > MAX_LETTER:
        raise ValueError(f"an answer of {len(said)} octets")
    return said
