"""Asks one plugin at a time, takes its time, and keeps the account of what went wrong.

A fault is an exception, an answer that nobody can use, or an answer that comes too late. It is logged with
the plugin's name, counted, and counts as no answer. After MAX_FAULTS in a row the plugin is not asked for a
while. Then it has one try: the next fault ends that at once, for twice as long, up to an hour; an answer
clears it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import Final, TypeVar, cast

from tunproxy.logs.about import about as fields_about
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.hook_checks import COROUTINES

# our choices: fewer could be bad luck; each costs a traceback in the log, and the flow what the plugin took
MAX_FAULTS: Final = 5  # in a row
FIRST_PAUSE: Final = 30.0  # seconds
LONGEST_PAUSE: Final = 3600.0
SUSPENDED: Final = "suspended for its faults"

_log: Final = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class LateError(Exception):
    """A plugin took longer than it may."""


@dataclass(frozen=True)
class Budgets:
    """How long one call may take, in seconds.

    Every call that is no coroutine holds up all packets: over slow it is counted as slow, over limit it is
    a fault. A coroutine holds up one flow, and is cancelled after wait.
    """

    slow: float = 0.001
    limit: float = 0.05
    wait: float = 5.0


@dataclass(frozen=True)
class HookStatistics:
    """What the calls of one hook of one plugin came to; times are in seconds."""

    calls: int
    seconds: float
    slowest: float
    slow: int
    faults: int


@dataclass(frozen=True)
class PluginStatistics:
    """What one plugin did so far. suspended_for is in seconds, 0 for a plugin that is asked."""

    hooks: Mapping[str, HookStatistics]
    faults: int
    last_fault: str
    suspensions: int
    suspended_for: float


class Ledger:
    """The accounts of all plugins of one process. clock is in seconds and never goes back.

    failure says why the call that ended last has no answer that counts: the plugin's fault, or that it is
    suspended; "" where it had none to give.
    """

    def __init__(
        self, budgets: Budgets | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._budgets: Final = budgets or Budgets()
        self._clock: Final = clock
        self._accounts: Final[dict[str, _Account]] = {}
        self.failure = ""

    def may_ask(self, plugin: str) -> bool:
        """Return whether plugin is not suspended."""
        account = self._accounts.get(plugin)
        return account is None or not account.resumes_at or self._clock() >= account.resumes_at

    def ask(
        self,
        hook: Hook,
        offered: Mapping[str, object],
        checked: Callable[[object], Answer],
        *,
        deed: str,
        about: object = "",
    ) -> Answer | None:
        """Return what a plugin answers, None where it has none, may not be asked, or is at fault.

        checked returns an answer that can be used, or raises. deed and about are for the log: what the
        plugin was asked to do, and for whom.
        """
        account = self._account(hook.plugin)
        started = self._clock()
        if account.resumes_at and started < account.resumes_at:
            self.failure = SUSPENDED
            return None
        self.failure = ""
        answer: Answer | None = None
        try:
            found = hook(offered)
            if found is not None:
                if type(found) is CoroutineType:
                    found.close()
                    how = "async def" if hook.name in COROUTINES else "def"
                    raise TypeError(f"it answered with a coroutine (write {how})")
                answer = checked(found)
        except BaseException as error:  # a plugin's sys.exit() must not end the process either
            self._on_fault(hook, self._clock() - started, error, deed, about)
            return None
        took = self._clock() - started
        if took > self._budgets.limit:
            late = LateError(f"it took {took * 1000:.0f} ms, {self._budgets.limit * 1000:g} are the limit")
            self._on_fault(hook, took, late, deed, about)
            return None
        tally = account.tally(hook.name)
        tally.add(took)
        if account.in_a_row:
            account.clear()
        if took > self._budgets.slow:
            self._on_slow(hook, tally, took)
        return answer

    async def wait_for(
        self,
        hook: Hook,
        offered: Mapping[str, object],
        checked: Callable[[object], Answer],
        *,
        deed: str,
        about: object = "",
    ) -> Answer | None:
        """Do as ask does, with a hook that is a coroutine. Only our own cancellation is raised."""
        if not self.may_ask(hook.plugin):
            self.failure = SUSPENDED
            return None
        started = self._clock()
        answer: Answer | None = None
        try:
            async with asyncio.timeout(self._budgets.wait) as limit:
                found = await cast(Awaitable[object], hook(offered))
            if found is not None:
                answer = checked(found)
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            if isinstance(error, TimeoutError) and limit.expired():
                error = LateError(f"it had no answer after {self._budgets.wait:g} s")
            self._on_fault(hook, self._clock() - started, error, deed, about)
            return None
        account = self._account(hook.plugin)
        account.tally(hook.name).add(self._clock() - started)
        if account.in_a_row:
            account.clear()
        self.failure = ""
        return answer

    def forgive(self, plugin: str) -> None:
        """Ask plugin again from now on: it has been replaced. What was counted stays."""
        account = self._accounts.get(plugin)
        if account is not None:
            account.clear()

    def faults(self) -> dict[str, int]:
        """Return how often each plugin failed, those that never did left out."""
        return {name: account.faults for name, account in self._accounts.items() if account.faults}

    def statistics(self) -> dict[str, PluginStatistics]:
        """Return what each plugin that was asked did so far."""
        now = self._clock()
        return {name: account.snapshot(now) for name, account in self._accounts.items()}

    def _account(self, plugin: str) -> "_Account":
        found = self._accounts.get(plugin)
        if found is None:
            found = self._accounts[plugin] = _Account()
        return found

    def _on_slow(self, hook: Hook, tally: "_Tally", took: float) -> None:
        tally.slow += 1
        if tally.slow == 1:
            _log.warning(
                "plugin %s took %.1f ms in %s, when no packet moved (said once; counted from now on)",
                hook.plugin,
                took * 1000,
                hook.name or "a hook",
                extra=fields_about(plugin=hook.plugin),
            )

    def _on_fault(self, hook: Hook, took: float, error: BaseException, deed: str, about: object) -> None:
        name = hook.plugin
        account = self._account(name)
        tally = account.tally(hook.name)
        tally.add(took)
        tally.faults += 1
        account.faults += 1
        account.in_a_row += 1
        words = " ".join(str(error).split())
        account.last_fault = words if isinstance(error, LateError) else f"{type(error).__name__}: {words}"
        self.failure = f"failed: {account.last_fault}"
        place = f"{about}: " if str(about) else ""
        trace = None if isinstance(error, LateError) else error
        words = "%splugin %s failed to %s: %s"
        fields = fields_about(plugin=name, flow=about)
        _log.error(words, place, name, deed, account.last_fault, exc_info=trace, extra=fields)
        if account.in_a_row >= MAX_FAULTS:
            pause = account.suspend(self._clock())
            _log.error(
                "plugin %s failed %d times in a row: not asked any more for %g s",
                name,
                account.in_a_row,
                pause,
                extra=fields,
            )


class _Tally:
    """Counts the calls of one hook."""

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.slowest = 0.0
        self.slow = 0
        self.faults = 0

    def add(self, took: float) -> None:
        self.calls += 1
        self.seconds += took
        if took > self.slowest:
            self.slowest = took


class _Account:
    """One plugin's."""

    def __init__(self) -> None:
        self.tallies: Final[dict[str, _Tally]] = {}
        self.faults = 0
        self.in_a_row = 0
        self.last_fault = ""
        self.suspensions = 0
        self.pause = 0.0
        self.resumes_at = 0.0  # 0: is asked

    def tally(self, hook: str) -> _Tally:
        found = self.tallies.get(hook)
        if found is None:
            found = self.tallies[hook] = _Tally()
        return found

    def suspend(self, now: float) -> float:
        """Begin a pause, or the next one; return its length."""
        self.pause = min(self.pause * 2, LONGEST_PAUSE) if self.pause else FIRST_PAUSE
        self.resumes_at = now + self.pause
        self.suspensions += 1
        return self.pause

    def clear(self) -> None:
        self.in_a_row = 0
        self.pause = 0.0
        self.resumes_at = 0.0

    def snapshot(self, now: float) -> PluginStatistics:
        hooks = {
            name: HookStatistics(each.calls, each.seconds, each.slowest, each.slow, each.faults)
            for name, each in self.tallies.items()
        }
        left = max(0.0, self.resumes_at - now)
        return PluginStatistics(hooks, self.faults, self.last_fault, self.suspensions, left)
