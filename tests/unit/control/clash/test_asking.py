"""One worker asked, or several, some of whom do not answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tunproxy.control.clash.asking import Asking, RefusedError
from tunproxy.control.helm.errands import Errands
from tunproxy.control.letters import About, answering
from tunproxy.control.questions import NoAnswerError, Questions, answer_on, socket_pair
from tunproxy.errors import ConfigError


def converse(talk: Callable[[Asking], Awaitable[None]], workers: str) -> None:
    """Let talk ask workers: each letter is what one answers, - stands for one that is gone."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        asked = []
        for letter in workers:
            ours, theirs = socket_pair()
            asked.append(Questions(ours))
            if letter == "-":
                theirs.close()
                continue
            errands = Errands()

            def said(about: About, letter: str = letter) -> Any:
                if letter == "!":
                    raise ConfigError("it will not")
                return {"who": letter, **about}

            async def later(letter: str = letter) -> Any:
                await asyncio.sleep(0.01)
                return {"done by": letter}

            def begin(about: About, errands: Errands = errands, later: Any = later) -> Any:
                return errands.begin(later() if not about else asyncio.sleep(60))

            answers = {
                "x": answering(said),
                "begin": answering(begin),
                "helm-errand": answering(errands.fetch),
            }
            answer_on(loop, theirs, {}, answers)
        await talk(Asking(asked))

    asyncio.run(both())


def test_first_and_each() -> None:
    async def talk(asking: Asking) -> None:
        assert await asking.first("x", {"n": 1}) == {"who": "a", "n": 1}
        assert [found["who"] for found in await asking.each("x")] == ["a", "b"]
        assert asking.count == 3
        found = await asking.every([("x", {"n": 1}), ("x", {"n": 2}), ("x", {"n": 3})])
        assert found == [{"who": "a", "n": 1}, {"who": "b", "n": 2}, None]

    converse(talk, "ab-")


def test_nobody_and_refusals() -> None:
    async def talk(asking: Asking) -> None:
        with pytest.raises(NoAnswerError):
            await asking.first("x")
        with pytest.raises(NoAnswerError):
            await asking.each("x")

    converse(talk, "--")

    async def other(asking: Asking) -> None:
        with pytest.raises(RefusedError, match="it will not"):
            await asking.first("x")
        with pytest.raises(RefusedError):
            await asking.each("x")

    converse(other, "!a")


def test_errand_is_waited_for_but_not_for_ever() -> None:
    async def talk(asking: Asking) -> None:
        assert await asking.errand("begin", {}, 10) == {"done by": "a"}
        with pytest.raises(NoAnswerError, match=r"not done within 0\.2 s"):
            await asking.errand("begin", {"long": True}, 0.2)

    converse(talk, "ab")
