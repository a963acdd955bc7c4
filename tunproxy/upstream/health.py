"""The one checker of a process: tests upstreams now and then, and knows which of them are well.

    adopt ─▶ records ─ due ─▶ test ─ result ─▶ record ─ wait ─▶ due …
                        ▲
    wake (a flow uses a group that was asleep), on_suspect (a flow failed), test (somebody asks)

A group that is lazy sleeps: when nobody has used it for an interval, its members are not tested before
somebody does again. All tests run on the loop, a few at a time, and none is left behind by stop.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from tunproxy.logs.about import about
from tunproxy.upstream.base import Dialer, OpenError, Unreached, Upstream
from tunproxy.upstream.history import SUSPECT, WELL, Record
from tunproxy.upstream.probe import TEST_TIMEOUT, TEST_URL, Expected, explore, fetch
from tunproxy.upstream.watch import Entry, Exploration, kept
from tunproxy.upstream.watch import Plan as Plan
from tunproxy.upstream.watch import Watch as Watch

# our choices
AT_ONCE: Final = 16  # tests: a group of hundreds must not crowd out the flows
JITTER: Final = 0.1  # of a wait, so that tests do not come in step
HINT_SPACING: Final = 5.0  # seconds between tests that failing flows ask for
EXPLORED_FOR: Final = 3000.0  # seconds until we look again, before what was learned is forgotten
CANCEL_LIMIT: Final = 1.0  # seconds that cancelled tests get to clean up

_log: Final = logging.getLogger(__name__)

Fetch = Callable[[Upstream, str, Dialer, Expected], Awaitable[float]]
Explore = Callable[[Upstream, Dialer], Awaitable[None]]


class Yielding(Protocol):
    """The part of the packet path that lets asyncio have its turn."""

    def yield_loop(self) -> None:
        """Have the select() that is running return soon."""


class Health:
    """Tests upstreams; nothing runs before start. clock is in seconds and never goes back.

    fetch and explore are what is done to an upstream (see ``probe``).
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        fetch: Fetch | None = None,
        explore: Explore | None = None,
    ) -> None:
        self._clock: Final = clock
        self._wall_clock: Final = wall_clock
        self._jitter: Final = jitter
        self._fetch: Final = fetch or _fetch
        self._explore: Final = explore or _explore
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dialer: Dialer | None = None
        self._yielding: Yielding | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watches: list[Watch] = []
        self.changes = 0  # how often a state has changed, so that groups need not look at all members
        self._records: dict[tuple[str, str], Entry] = {}
        self._by_name: dict[str, list[Entry]] = {}  # for hints, which come from flows
        self._explored: dict[str, Exploration] = {}
        self._waiting: Final[deque[Entry | Exploration]] = deque()  # due, and no room yet
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    # what groups ask

    def record(self, upstream: Upstream, url: str = TEST_URL) -> Record | None:
        """Return what is known of an upstream through a URL; None where it was never tested."""
        entry = self._records.get((upstream.name, url))
        return entry.record if entry is not None else None

    def records(self) -> dict[str, list[Record]]:
        """Return everything that is known, by the names of upstreams."""
        return {name: [entry.record for entry in entries] for name, entries in self._by_name.items()}

    def state(self, upstream: Upstream, url: str = TEST_URL) -> int:
        """Return WELL, SUSPECT or DEAD."""
        entry = self._records.get((upstream.name, url))
        return entry.record.state if entry is not None else WELL

    def use(self, watch: Watch) -> None:
        """Note that a flow goes through a group; one that was asleep has its members tested."""
        watch.used_at = self._clock()
        if watch.is_asleep:
            watch.is_asleep = False
            for upstream in watch.upstreams:
                entry = self._records.get((upstream.name, watch.plan.url))
                if entry is not None and entry.due_at == float("inf") and not entry.is_running:
                    entry.due_at = max(watch.used_at, entry.tested_at + watch.plan.interval)
            self._arm()

    # what the worker does

    def adopt(self, watches: Iterable[Watch], explored: Iterable[Upstream] = ()) -> None:
        """Test what watches say from now on, and nothing else; explored are looked at for what they carry.

        What is known of an upstream of the same name and kind, at the same address, is kept.
        """
        old = self._records
        self._watches = list(watches)
        self._records = {}
        for watch in self._watches:
            for upstream in watch.upstreams:
                key = (upstream.name, watch.plan.url)
                entry = self._records.get(key)
                if entry is None:
                    entry = self._records[key] = Entry(kept(old.get(key), upstream, watch.plan.url))
                    if key in old and old[key].record is entry.record:
                        entry.tested_at = old[key].tested_at
                entry.watches.append(watch)
        self.changes += 1
        self._index()
        self._explored = {upstream.name: Exploration(upstream) for upstream in explored}
        self._forget_waiting()
        now = self._clock()
        for entry in self._records.values():
            if not all(watch.is_asleep for watch in entry.watches):
                interval = min(watch.plan.interval for watch in entry.watches)
                entry.due_at = max(now, entry.tested_at + entry.record.wait(interval))
        for exploration in self._explored.values():
            exploration.due_at = now
        self._arm()

    def start(
        self, loop: asyncio.AbstractEventLoop, dialer: Dialer, yielding: Yielding | None = None
    ) -> None:
        """Begin to test, on loop; yielding is asked for a turn of the loop where a flow gives us work."""
        self._loop, self._dialer, self._yielding = loop, dialer, yielding
        self._arm()

    def stop(self) -> None:
        """Test nothing any more. Waits for what runs where the loop does not run, else cancels it only."""
        loop, self._loop, self._dialer = self._loop, None, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._forget_waiting()
        for task in self._tasks:
            task.cancel()
        if self._tasks and loop is not None and not loop.is_running() and not loop.is_closed():
            loop.run_until_complete(asyncio.wait(set(self._tasks), timeout=CANCEL_LIMIT))

    def on_suspect(self, upstream: Upstream, error: BaseException) -> None:
        """Take a failure that may be the upstream's own as a hint: it is tested soon, at once the first time.

        One that could not even be reached is suspect until then: groups rather use others. Never raises.
        """
        name = error.who if isinstance(error, OpenError) and error.who else upstream.name
        for entry in self._by_name.get(name, ()):
            if not entry.watches:  # tested because somebody asked: nobody depends on it
                continue
            if isinstance(error, Unreached):
                entry.record.suspect()
                self.changes += 1
            self._schedule(entry, max(self._clock(), entry.tested_at + HINT_SPACING))

    def renew(self) -> None:
        """Test everything that is in use anew, soon: the network is another one. Never raises."""
        now = self._clock()
        for entry in self._records.values():
            if entry.watches and not all(watch.is_asleep for watch in entry.watches):
                self._schedule(entry, now)
        for exploration in self._explored.values():
            exploration.due_at = min(exploration.due_at, now)
        self._arm()

    async def test(
        self,
        upstream: Upstream,
        url: str = TEST_URL,
        timeout: float = TEST_TIMEOUT,
        expected: Expected | None = None,
    ) -> int:
        """Test an upstream now; return what it took in ms. Raises OpenError saying why it failed.

        expected None: the status that groups want which test it with this URL.
        """
        entry = self._records.get((upstream.name, url))
        if entry is None:
            entry = self._records[upstream.name, url] = Entry(Record(upstream, url))
            self._index()
        if expected is None:
            expected = next((watch.plan.status for watch in entry.watches if watch.plan.status), 0)
        await self._test(entry, timeout, expected)
        if entry.record.delay is None:
            raise OpenError(f"test of {upstream.name} failed: {entry.record.problem}")
        return entry.record.delay

    def statistics(self) -> dict[str, int]:
        """Return how many upstreams are tested, how many of them are not well, and how many tests run."""
        unwell = sum(entry.record.state != WELL for entry in self._records.values())
        return {"tested": len(self._records), "unwell": unwell, "running": len(self._tasks)}

    # tests

    def _index(self) -> None:
        self._by_name = {}
        for (name, _), entry in self._records.items():
            self._by_name.setdefault(name, []).append(entry)

    def _forget_waiting(self) -> None:
        for due in self._waiting:
            if isinstance(due, Entry):
                due.is_running = False
        self._waiting.clear()

    def _schedule(self, entry: Entry, at: float) -> None:
        """Have entry tested at `at`, or earlier where that was asked for."""
        if at < entry.due_at and not entry.is_running:
            entry.due_at = at
            self._arm()

    def _arm(self) -> None:
        """Set the timer to whatever is due first."""
        if self._loop is None:
            return
        tests = min((entry.due_at for entry in self._records.values()), default=float("inf"))
        due_at = min([tests, *(exploration.due_at for exploration in self._explored.values())])
        if self._timer is not None:
            if self._timer.when() <= self._timer_at(due_at):
                return
            self._timer.cancel()
            self._timer = None
        if due_at < float("inf"):
            self._timer = self._loop.call_at(self._timer_at(due_at), self._on_timer)
            if self._yielding is not None:
                self._yielding.yield_loop()

    def _timer_at(self, at: float) -> float:
        """Return our time as the loop's."""
        assert self._loop is not None
        return self._loop.time() + max(0.0, at - self._clock())

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock()
        for entry in self._records.values():
            if entry.due_at <= now:
                entry.due_at = float("inf")
                if self._is_wanted(entry, now):
                    entry.is_running = True
                    self._waiting.append(entry)
        for exploration in self._explored.values():
            if exploration.due_at <= now:
                exploration.due_at = float("inf")
                self._waiting.append(exploration)
        self._run_waiting()
        self._arm()

    def _is_wanted(self, entry: Entry, now: float) -> bool:
        """Tell whether anybody still uses what would be tested; lazy groups that are not used fall asleep."""
        is_wanted = entry.record.state == SUSPECT  # a flow has just failed
        for watch in entry.watches:
            if watch.plan.is_lazy and now - watch.used_at > watch.plan.interval:
                watch.is_asleep = True
            else:
                is_wanted = True
        return is_wanted

    def _run_waiting(self) -> None:
        while self._waiting and len(self._tasks) < AT_ONCE and self._loop is not None:
            due = self._waiting.popleft()
            task = self._loop.create_task(self._run(due), name=f"test {due.name}")
            self._tasks.add(task)
            task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a test of an upstream failed in a way of its own", exc_info=task.exception())
        self._run_waiting()

    async def _run(self, due: Entry | Exploration) -> None:
        if isinstance(due, Entry):
            plan = min((watch.plan for watch in due.watches), key=lambda plan: plan.interval)
            try:
                await self._test(due, plan.timeout, plan.status)
            finally:
                due.is_running = False
            wait = due.record.wait(plan.interval)
            self._schedule(due, self._clock() + self._jittered(wait))
        elif self._dialer is not None:
            try:
                await self._explore(due.upstream, self._dialer)
            except Exception as error:  # a plugin's fault must not end the checker
                words = "upstream %s: cannot find out what it carries"
                _log.error(words, due.name, exc_info=error, extra=about(upstream=due.name))
            due.due_at = self._clock() + self._jittered(EXPLORED_FOR)
            self._arm()

    def _jittered(self, wait: float) -> float:
        return wait * (1 + JITTER * (2 * self._jitter() - 1))

    async def _test(self, entry: Entry, timeout: float, expected: Expected) -> None:
        """Test once, and note the result."""
        record = entry.record
        if self._dialer is None:
            raise OpenError("no tests before the start or after the end")
        before = record.state
        entry.tested_at = self._clock()
        try:
            async with asyncio.timeout(timeout):
                seconds = await self._fetch(record.upstream, record.url, self._dialer, expected)
        except TimeoutError:
            record.failed(f"no answer within {timeout:g} s", self._wall_clock())
        except Exception as error:  # whatever a plugin's upstream raises
            record.failed(str(error) or type(error).__name__, self._wall_clock())
        else:
            record.succeeded(round(seconds * 1000), self._wall_clock())
        self.changes += 1
        if (record.state == WELL) != (before == WELL):
            now_is = f"dead: {record.problem}" if record.problem else "well"
            _log.info("upstream %s is %s", entry.name, now_is, extra=about(upstream=entry.name))


async def _fetch(upstream: Upstream, url: str, dialer: Dialer, expected: Expected) -> float:
    return await fetch(upstream, url, dialer, expected=expected)


async def _explore(upstream: Upstream, dialer: Dialer) -> None:
    """Ask the upstream alone. IPv6 flows find out by themselves: nobody beyond is asked whom no one named."""
    await explore(upstream, dialer, ipv6_target=None)
