"""Records flows that are over: asks the workers each second, and has a thread write what they tell.

It is the supervisor that writes: workers may write no file, and the packet path must not wait for a disk.
Where the disk is full, or the file cannot be written for another reason, that is said once, what ends
meanwhile is counted, and it is tried again every PAUSE_SECONDS.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar  # Any as the workers' JSON has it

from tunproxy.control.config.schema import HistoryConfig
from tunproxy.control.history.places import StoreError, ring_path
from tunproxy.control.history.spans import seconds_of
from tunproxy.control.letters import ask_at_length
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.control.serving import tell
from tunproxy.control.settings import octets

if TYPE_CHECKING:
    from tunproxy.control.history.store import Store

# our choices
EVERY_SECONDS: Final = 1.0
MOST_A_ROUND: Final = 2  # answers of a worker: some thousand flows a second
PAUSE_SECONDS: Final = 60.0  # after which it is tried again
LAST_SECONDS: Final = 1.0  # for what is left, when we end
MOST_MISSED: Final = 1 << 40

TOO_FAST: Final = "they ended too fast"
NOT_WRITTEN: Final = "the file could not be written"

T = TypeVar("T")


class Recorder:
    """Records by the configuration in force. workers is as ``crew`` has it: who is replaced is exchanged."""

    def __init__(
        self,
        workers: Sequence[Questions],
        config: Callable[[], HistoryConfig],
        instance: str,
        path: Path | None = None,
        say: Callable[[str], None] = tell,
    ) -> None:
        """instance is what we are called, for who looks back; path is the file, None for the usual place."""
        self._workers: Final = workers
        self._config: Final = config
        self._instance: Final = instance
        self._path: Final = path
        self._say: Final = say
        self._thread: Final = ThreadPoolExecutor(1, "history")
        self._store: Store | None = None
        # by worker: its run, and its last answer's number
        self._heard: Final[dict[int, tuple[str, int]]] = {}
        self._is_whole = True  # it has been wanted from the beginning
        self._ending: Final = asyncio.Event()
        self._problem = ""
        self._paused_until = 0.0
        self._missed = 0  # and not yet written down
        self._recorded = 0
        self._lost = 0

    @contextlib.asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Record within the context, and in the end what is still open, as over."""
        task = asyncio.create_task(self._record(), name="history")
        try:
            yield
        finally:
            self._ending.set()
            await asyncio.wait([task], timeout=LAST_SECONDS)  # what it is writing is written once
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    if self._store is not None:
                        await self._round(is_last=True)
            if self._store is not None:
                with contextlib.suppress(RuntimeError):
                    self._thread.submit(self._store.close)
            self._thread.shutdown(wait=True)

    def document(self) -> Mapping[str, object]:
        """Return what ``status`` says: where to, how many flows, and how many could not be recorded."""
        store = self._store
        return {
            "history": {
                "is_recording": store is not None and not self._problem,
                "path": str(store.path) if store is not None else None,
                "recorded": self._recorded,
                "missed": self._lost,
            }
        }

    def problems(self) -> list[str]:
        """Return why nothing is recorded, where it should be."""
        return [f"flows are not recorded: {self._problem}"] if self._problem else []

    async def _record(self) -> None:
        while not self._ending.is_set():
            config = self._config()
            if config.enabled:
                self._adopt(config)
                await self._round()
            else:
                self._is_whole = False
                if self._store is not None:
                    await self._stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._ending.wait()

    def _adopt(self, config: HistoryConfig) -> None:
        size, age = octets(config.size), seconds_of(config.age)
        if self._store is None:
            from tunproxy.control.history.store import Store  # with a library that takes its time

            path = self._path or ring_path()
            self._store = Store(path, size=size, age=age, instance=self._instance)
        self._store.size, self._store.age = size, age

    async def _stop(self) -> None:
        """Record no more, as the configuration has it now."""
        for worker in self._workers:
            with contextlib.suppress(NoAnswerError):
                await ask_at_length(worker, "history", {"stop": True})
        store, self._store = self._store, None
        if store is not None:
            await self._aside(store.close)
        self._problem, self._paused_until = "", 0.0

    async def _round(self, *, is_last: bool = False) -> None:
        """Ask every worker, and write."""
        for number in range(len(self._workers)):
            for _ in range(MOST_A_ROUND):
                with contextlib.suppress(NoAnswerError):  # it is being replaced, or hangs: others say so
                    if await self._take(number, is_last=is_last):
                        continue
                break

    async def _take(self, number: int, *, is_last: bool) -> bool:
        """Ask one worker, and write what it tells; return whether it has more."""
        run, sequence = self._heard.get(number, ("", 0))
        about: dict[str, Any] = {"run": run, "got": sequence, "last": is_last, "whole": self._is_whole}
        told = await ask_at_length(self._workers[number], "history", about)
        if "error" in told:
            return False
        if (told["run"], told["sequence"]) != (run, sequence):
            self._heard[number] = told["run"], told["sequence"]
            await self._write(told["entries"], int(told["missed"]))
        return bool(told["is_more"])

    async def _write(self, entries: list[dict[str, Any]], missed: int) -> None:
        """Write entries; where that fails they are missed, and others are not tried for a while."""
        store = self._store
        if store is None or not (entries or missed or self._missed):
            return
        self._lost += missed
        why = TOO_FAST if missed and not self._missed else NOT_WRITTEN
        missed += self._missed
        self._missed = 0
        if time.monotonic() < self._paused_until:
            self._miss(len(entries), missed)
            return
        try:
            await self._aside(functools.partial(store.add, entries, missed, why))
        except StoreError as error:
            self._miss(len(entries), missed)
            if str(error) != self._problem:
                self._say(f"flows are not recorded for now: {error}")
            self._problem = str(error)
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            return
        self._recorded += len(entries)
        if self._problem:
            self._say(f"flows are recorded again; {missed:,} were not")
        self._problem = ""
        if store.put_aside:
            self._say(store.put_aside)
            store.put_aside = ""

    def _miss(self, entries: int, before: int) -> None:
        """Remember to write down that entries are missing, and those before them."""
        self._missed = min(self._missed + entries + before, MOST_MISSED)
        self._lost += entries

    async def _aside(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
