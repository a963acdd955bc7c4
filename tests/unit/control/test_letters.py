"""Questions that say what they are about, and long answers."""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping

import pytest

from tunproxy.control import letters
from tunproxy.control.letters import About, answering, aside, ask_at_length
from tunproxy.control.questions import NoAnswerError, Questions, answer_on, socket_pair
from tunproxy.errors import ConfigError


def converse(
    answers: Mapping[str, Callable[[About], object]], talk: Callable[[Questions], Awaitable[None]]
) -> None:
    async def both() -> None:
        ours, theirs = socket_pair()
        with_fd = {what: answering(function) for what, function in answers.items()}
        answer_on(asyncio.get_running_loop(), theirs, {"quick": dict}, with_fd)
        await talk(Questions(ours))
        ours.close()
        theirs.close()

    asyncio.run(both())


def test_answer_may_be_longer_than_a_message_and_shorter_than_the_question() -> None:
    async def talk(worker: Questions) -> None:
        assert await ask_at_length(worker, "long", {"n": 400_000}) == {"x": "y" * 400_000}
        assert await ask_at_length(worker, "long", {"n": 0, "padding": "z" * 100_000}) == {"x": ""}

    converse({"long": lambda about: {"x": "y" * about["n"]}}, talk)


def test_answer_of_a_coroutine_holds_up_no_other_question() -> None:
    async def slow(about: About) -> object:
        await asyncio.sleep(0.2)
        return {"slow": about["n"]}

    async def talk(worker: Questions) -> None:
        asking = asyncio.ensure_future(ask_at_length(worker, "slow", {"n": 7}))
        await asyncio.sleep(0.05)
        assert not asking.done()
        assert await worker.ask("quick") == {}
        assert await asking == {"slow": 7}

    converse({"slow": slow}, talk)


def test_what_cannot_be_answered_is_told() -> None:
    def refuse(about: About) -> object:
        raise ConfigError("there is no flow 9")

    def fail(about: About) -> object:
        raise RuntimeError("out of order")

    async def talk(worker: Questions) -> None:
        assert await ask_at_length(worker, "refuse", {}) == {"error": "there is no flow 9"}
        with pytest.raises(NoAnswerError, match=r"^the worker cannot tell: RuntimeError: out of order$"):
            await ask_at_length(worker, "fail", {})
        with pytest.raises(NoAnswerError, match=r"^the worker answers nonsense$"):
            await ask_at_length(worker, "list", {})

    converse({"refuse": refuse, "fail": fail, "list": lambda about: [1]}, talk)


def test_answer_beyond_all_bounds_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "MAX_LETTER", 100)

    async def talk(worker: Questions) -> None:
        with pytest.raises(NoAnswerError, match=r"ValueError: an answer of 109 octets$"):
            await ask_at_length(worker, "long", {})

    converse({"long": lambda about: {"x": "y" * 100}}, talk)


def test_aside_is_another_thread_and_turns_are_long_again() -> None:
    interval = sys.getswitchinterval()

    def where(word: str) -> tuple[str, bool, bool]:
        is_short = sys.getswitchinterval() < interval
        return word, threading.current_thread() is threading.main_thread(), is_short

    assert asyncio.run(aside(where, "x")) == ("x", False, True)
    assert sys.getswitchinterval() == interval


def test_turns_are_long_again_whoever_of_several_ends_last() -> None:
    interval = sys.getswitchinterval()
    first, second = threading.Event(), threading.Event()

    async def both() -> None:
        one = asyncio.create_task(aside(first.wait, 10))
        other = asyncio.create_task(aside(second.wait, 10))
        await asyncio.sleep(0.01)
        first.set()
        await one
        assert sys.getswitchinterval() < interval
        second.set()
        await other

    asyncio.run(both())
    assert sys.getswitchinterval() == interval
