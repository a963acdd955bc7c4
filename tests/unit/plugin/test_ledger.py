"""Calls are timed, faults are counted, and whoever goes on failing is left alone for a while."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import FIRST_PAUSE, LONGEST_PAUSE, MAX_FAULTS, Budgets, Ledger
from tunproxy.testkit.virtual import VirtualClock, VirtualLoop


class Desk:
    """A ledger on a virtual clock, and one plugin that does what a test says."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ledger = Ledger(Budgets(slow=0.001, limit=0.05, wait=5.0), clock=self.clock)
        self.calls = 0

    def ask(self, act: Callable[[], object]) -> object:
        def function() -> object:
            self.calls += 1
            return act()

        hook = Hook("p", function, (), "decide_flow")
        return self.ledger.ask(hook, {}, positive, deed="decide", about="flow 1")

    def takes(self, seconds: float) -> Callable[[], object]:
        def act() -> object:
            self.clock.advance(seconds)
            return 1

        return act

    def fails(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.ask(fail) is None


def positive(answer: object) -> int:
    if not isinstance(answer, int) or answer < 0:
        raise ValueError(f"{answer!r} is not positive")
    return answer


def fail() -> object:
    raise RuntimeError("out of\norder")


async def coroutine() -> int:
    return 1


def test_ask_counts_calls_and_time() -> None:
    desk = Desk()
    assert desk.ask(desk.takes(0.0005)) == 1
    assert desk.ask(lambda: None) is None
    tally = desk.ledger.statistics()["p"].hooks["decide_flow"]
    assert (tally.calls, tally.seconds, tally.slowest, tally.slow, tally.faults) == (2, 0.0005, 0.0005, 0, 0)
    assert desk.ledger.faults() == {}


def test_ask_slow_answer_is_used_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    assert [desk.ask(desk.takes(0.002)) for _ in range(3)] == [1, 1, 1]
    assert desk.ledger.statistics()["p"].hooks["decide_flow"].slow == 3
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "plugin p took 2.0 ms in decide_flow, whe"
    ]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (fail, "RuntimeError: out of order"),
        (lambda: -1, "ValueError: -1 is not positive"),
        (coroutine, "TypeError: it answered with a coroutine"),
    ],
)
def test_ask_fault_is_logged_and_counted(
    act: Callable[[], object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()
    assert desk.ask(act) is None
    assert desk.ledger.faults() == {"p": 1}
    assert desk.ledger.statistics()["p"].last_fault.startswith(why)
    assert f"flow 1: plugin p failed to decide: {why}" in caplog.text


@pytest.mark.parametrize(("name", "how"), [("decide_flow", "async def"), ("contribute_rule_kinds", "def")])
def test_ask_coroutine_says_what_to_write(name: str, how: str) -> None:
    ledger = Desk().ledger
    assert ledger.ask(Hook("p", lambda: coroutine(), (), name), {}, positive, deed="match") is None
    assert ledger.failure == f"failed: TypeError: it answered with a coroutine (write {how})"


def test_ask_answer_that_comes_too_late_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    assert desk.ask(desk.takes(0.06)) is None
    assert desk.ledger.faults() == {"p": 1}
    assert "failed to decide: it took 60 ms, 50 are the limit" in caplog.text
    assert caplog.records[0].exc_info is None, "time has no traceback"


def test_why_there_is_no_answer_is_said_of_the_last_call() -> None:
    desk = Desk()
    said = []
    for act in (fail, lambda: None, desk.takes(0.06), lambda: 1):
        desk.ask(act)
        said.append(desk.ledger.failure)
    assert said == [
        "failed: RuntimeError: out of order",
        "",
        "failed: it took 60 ms, 50 are the limit",
        "",
    ]
    desk.fails(MAX_FAULTS)
    assert desk.ask(lambda: 1) is None
    assert desk.ledger.failure == "suspended for its faults"


def test_suspended_plugin_is_asked_again_after_a_pause() -> None:
    desk = Desk()
    desk.fails(MAX_FAULTS)
    assert desk.ask(lambda: 1) is None
    assert desk.calls == MAX_FAULTS
    assert desk.ledger.statistics()["p"].suspended_for == FIRST_PAUSE
    desk.clock.advance(FIRST_PAUSE)
    assert desk.ask(lambda: 1) == 1
    desk.fails(MAX_FAULTS - 1)
    assert desk.ask(lambda: 1) == 1, "a good answer clears the account"


def test_suspended_plugin_that_fails_its_try_waits_twice_as_long() -> None:
    desk = Desk()
    desk.fails(MAX_FAULTS)
    pauses = []
    for _ in range(9):
        pauses.append(desk.ledger.statistics()["p"].suspended_for)
        desk.clock.advance(pauses[-1])
        desk.fails()
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert desk.ledger.statistics()["p"].suspensions == 10


def test_forgive_ends_the_pause_and_keeps_the_count() -> None:
    desk = Desk()
    desk.fails(MAX_FAULTS)
    desk.ledger.forgive("p")
    desk.ledger.forgive("nobody")
    assert desk.ask(lambda: 1) == 1
    assert desk.ledger.faults() == {"p": MAX_FAULTS}


def wait(act: Callable[[], object]) -> tuple[object, Ledger, float]:
    """Return what a coroutine's answer came to, who keeps the account, and the time that it took."""
    loop = VirtualLoop()
    ledger = Ledger(Budgets(wait=5.0), clock=loop.clock)
    try:
        answer = loop.run(
            ledger.wait_for(Hook("p", act, (), "decide_flow"), {}, positive, deed="decide", about="flow 1")
        )
        return answer, ledger, loop.clock.now
    finally:
        loop.close()


async def slowly() -> int:
    await asyncio.sleep(4)
    return 1


async def never() -> int:
    await asyncio.sleep(1000)
    return 1


async def negative() -> int:
    return -1


async def own_timeout() -> int:
    raise TimeoutError("the service is silent")


async def cancels() -> int:
    raise asyncio.CancelledError


def test_wait_for_slow_coroutine_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    answer, ledger, now = wait(slowly)
    assert (answer, ledger.faults(), now, caplog.text) == (1, {}, 4, "")


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (never, "it had no answer after 5 s"),
        (negative, "ValueError: -1 is not positive"),
        (own_timeout, "TimeoutError: the service is silent"),
        (cancels, "CancelledError: "),
        (lambda: 1, "TypeError: "),
    ],
)
def test_wait_for_faulty_coroutine_is_skipped(
    act: Callable[[], object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer, ledger, now = wait(act)
    assert answer is None
    assert ledger.statistics()["p"].last_fault.startswith(why)
    assert now <= 5
    assert "flow 1: plugin p failed to decide: " in caplog.text


def test_wait_for_is_cancelled_as_its_caller_is() -> None:
    loop = VirtualLoop()
    ledger = Ledger(clock=loop.clock)

    async def cancel() -> None:
        asked = ledger.wait_for(Hook("p", never, (), "decide_flow"), {}, positive, deed="decide")
        task = asyncio.create_task(asked)
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run(cancel())
    loop.close()
    assert ledger.faults() == {}
