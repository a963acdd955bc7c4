"""Tells plugins about flows that began and ended, in batches and never while a packet waits.

The packet path hands in records and goes on. The first record of a batch asks for a call a tenth of a second
later, on the loop; then every plugin gets what has come together. A plugin that is a coroutine gets one
batch at a time. What nobody fetches is kept up to MAX_KEPT records for each plugin, then the newest are lost,
and counted.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from tunproxy.logs.about import about
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.records import FlowClosed, FlowOpened

# our choices
BATCH_SECONDS: Final = 0.1
MAX_KEPT: Final = 10_000  # about 3 MB

_log: Final = logging.getLogger(__name__)

Later = Callable[[float, Callable[[], None]], object]


class FlowEvents:
    """Hands records to the plugins that want them.

    later(seconds, function) has function called on the loop. has_any says whether anybody wants to know at
    all: where not, no record need be made.
    """

    def __init__(self, plugins: Plugins, later: Later) -> None:
        self._later: Final = later
        opened = {hook.plugin: hook for hook in plugins.hooks("flow_opened")}
        closed = {hook.plugin: hook for hook in plugins.hooks("flow_closed")}
        names = list(dict.fromkeys([*opened, *closed]))
        self._subscribers: Final = [
            _Subscriber(plugins.ledger, opened.get(name), closed.get(name)) for name in names
        ]
        self.has_any: Final = bool(names)
        self._is_due = False

    @property
    def lost(self) -> int:
        """How many records plugins did not get, because they did not keep up."""
        return sum(each.lost for each in self._subscribers)

    def opened(self, record: FlowOpened) -> None:
        """Note that a flow's way is open. Never blocks or raises."""
        for each in self._subscribers:
            each.note_opened(record)
        self._call_later()

    def closed(self, record: FlowClosed) -> None:
        """Note that a flow is over. Never blocks or raises."""
        for each in self._subscribers:
            each.note_closed(record)
        self._call_later()

    def flush(self) -> None:
        """Hand over what has come together; called on the loop."""
        self._is_due = False
        for each in self._subscribers:
            each.deliver()

    async def drain(self) -> None:
        """Hand over everything, and return when all plugins have taken it: at the end of the process."""
        self.flush()
        await asyncio.gather(*(each.rest() for each in self._subscribers))

    def _call_later(self) -> None:
        if not self._is_due and self._subscribers:
            self._is_due = True
            self._later(BATCH_SECONDS, self.flush)


class _Subscriber:
    """One plugin, and what it has not been told yet."""

    def __init__(self, ledger: Ledger, opened: Hook | None, closed: Hook | None) -> None:
        self._ledger: Final = ledger
        self._opened_hook: Final = opened
        self._closed_hook: Final = closed
        self._opened: list[FlowOpened] = []
        self._closed: list[FlowClosed] = []
        self._task: asyncio.Task[None] | None = None
        self.lost = 0

    def note_opened(self, record: FlowOpened) -> None:
        if self._opened_hook is not None and self._has_room():
            self._opened.append(record)

    def note_closed(self, record: FlowClosed) -> None:
        if self._closed_hook is not None and self._has_room():
            self._closed.append(record)

    def deliver(self) -> None:
        """Hand the batch over, now or, where the plugin takes its time, in a task."""
        if self._task is not None or not (self._opened or self._closed):
            return
        batch = self._batch()
        if any(hook.is_async for hook, _ in batch):
            self._task = asyncio.get_running_loop().create_task(self._deliver_in_turn(batch))
        else:
            for hook, flows in batch:
                self._ledger.ask(hook, {"flows": flows}, _nothing, deed="take note of flows")

    async def rest(self) -> None:
        """Return when nothing is left to be told."""
        if self._task is not None:
            await self._task

    async def _deliver_in_turn(self, batch: Sequence[tuple[Hook, Sequence[object]]]) -> None:
        try:
            while batch:
                for hook, flows in batch:
                    if hook.is_async:
                        offered = {"flows": flows}
                        await self._ledger.wait_for(hook, offered, _nothing, deed="take note of flows")
                    else:
                        self._ledger.ask(hook, {"flows": flows}, _nothing, deed="take note of flows")
                batch = self._batch()
        finally:
            self._task = None

    def _batch(self) -> list[tuple[Hook, Sequence[object]]]:
        opened, closed = tuple(self._opened), tuple(self._closed)
        self._opened, self._closed = [], []
        batch: list[tuple[Hook, Sequence[object]]] = []
        if opened and self._opened_hook is not None:
            batch.append((self._opened_hook, opened))
        if closed and self._closed_hook is not None:
            batch.append((self._closed_hook, closed))
        return batch

    def _has_room(self) -> bool:
        if len(self._opened) + len(self._closed) < MAX_KEPT:
            return True
        if self.lost == 0:
            hook = self._opened_hook or self._closed_hook
            name = hook.plugin if hook is not None else ""
            words = "plugin %s does not keep up with the flows: some it is not told of"
            _log.warning(words, name, extra=about(plugin=name))
        self.lost += 1
        return False


def _nothing(answer: object) -> None:
    """Take any answer: none is wanted."""
