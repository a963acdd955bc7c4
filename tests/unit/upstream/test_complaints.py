"""What fails often is told once, and then how often."""

import asyncio
from collections.abc import Iterator

import pytest

from tunproxy.upstream import complaints
from tunproxy.upstream.complaints import MAX_KEPT, OTHERS, Complaints


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.AbstractEventLoop]:
    monkeypatch.setattr(complaints, "QUIET", 0.02)
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def taking(loop: asyncio.AbstractEventLoop, told: list[str]) -> Complaints:
    return Complaints(loop, lambda form, *words, extra: told.append(form % words))


def wait(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    loop.run_until_complete(asyncio.sleep(seconds))


def test_first_is_told_at_once_and_the_same_again_counted(
    taking: Complaints, told: list[str], loop: asyncio.AbstractEventLoop
) -> None:
    assert [taking.take(f"flow {number}", "upstream x: dead") for number in range(4)] == [True] + [False] * 3
    assert told == ["flow 0: upstream x: dead"]
    wait(loop, 0.03)
    assert told[1:] == ["3 more flows: upstream x: dead"]


def test_complaint_that_came_once_is_told_anew_after_a_while(
    taking: Complaints, told: list[str], loop: asyncio.AbstractEventLoop
) -> None:
    taking.take("flow 0", "dead")
    wait(loop, 0.03)
    taking.take("flow 1", "dead")
    assert told == ["flow 0: dead", "flow 1: dead"]


def test_complaint_that_goes_on_is_summed_up_again_and_again(
    taking: Complaints, told: list[str], loop: asyncio.AbstractEventLoop
) -> None:
    for _ in range(3):
        taking.take("a flow", "dead")
        taking.take("a flow", "dead")
        wait(loop, 0.025)
    assert told[0] == "a flow: dead"
    assert told[1] == "1 more flow: dead"
    assert told[2:] == ["2 more flows: dead"] * 2


def test_different_complaints_are_told_apart(taking: Complaints, told: list[str]) -> None:
    taking.take("a flow", "x: dead")
    taking.take("a flow", "y: dead")
    assert told == ["a flow: x: dead", "a flow: y: dead"]


def test_end_tells_what_was_only_counted(taking: Complaints, told: list[str]) -> None:
    taking.take("a flow", "dead")
    taking.take("a flow", "dead")
    taking.take("a flow", "alive")
    taking.close()
    assert told[2:] == ["1 more flow: dead"]


def test_of_too_many_kinds_one_is_told_and_the_others_are_counted(
    taking: Complaints, told: list[str], loop: asyncio.AbstractEventLoop
) -> None:
    """A stranger who makes up a user's name for each attempt writes no line for each."""
    for number in range(3 * MAX_KEPT):
        taking.take("a flow", f"it said {number}", "x")
    assert told == [f"a flow: it said {number}" for number in range(MAX_KEPT + 1)]
    assert not taking.take("a flow", "it said 0")
    wait(loop, 0.03)
    assert sorted(told[MAX_KEPT + 1 :]) == [
        "1 more flow: it said 0",
        f"{2 * MAX_KEPT - 1} more flows: {OTHERS}",
    ]
    wait(loop, 0.05)
    taking.take("a flow", "it said something new")
    assert told[-1] == "a flow: it said something new"


def test_fields_say_which_flow_rule_and_upstream(loop: asyncio.AbstractEventLoop) -> None:
    told: list[object] = []
    taking = Complaints(loop, lambda *words, extra: told.append(extra["about"]))
    for number in range(3):
        taking.take(f"flow {number}", "upstream x: dead", "x", "DOMAIN,a,x")
    wait(loop, 0.03)
    assert told == [{"flow": "flow 0", "upstream": "x", "rule": "DOMAIN,a,x"}, {"upstream": "x"}]
    taking.close()
