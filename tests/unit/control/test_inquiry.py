"""What the supervisor answers about flows."""

import asyncio
from collections.abc import Awaitable, Callable

from tunproxy.control.inquiry import Inquiry
from tunproxy.control.letters import About, answering
from tunproxy.control.questions import Questions, answer_on, socket_pair


def converse(talk: Callable[[Inquiry], Awaitable[None]], *, is_there: bool = True) -> None:
    """Let talk ask a worker that answers with what it was asked."""

    async def both() -> None:
        ours, theirs = socket_pair()

        def echo(what: str) -> Callable[[int], object]:
            def answer(about: About) -> object:
                return {what: dict(about)}

            return answering(answer)

        if is_there:
            loop = asyncio.get_running_loop()
            answer_on(loop, theirs, {}, {what: echo(what) for what in ("flows", "flow", "explain")})
        else:
            theirs.close()
        await talk(Inquiry([Questions(ours)]))
        ours.close()
        theirs.close()

    asyncio.run(both())


def test_questions_reach_the_worker_with_what_they_are_about() -> None:
    async def talk(inquiry: Inquiry) -> None:
        assert await inquiry.flows(10, "open") == {"flows": {"limit": 10, "state": "open"}}
        assert await inquiry.flow(7) == {"flow": {"number": 7}}
        assert await inquiry.explanation({"host": "a.example"}) == {
            "explain": {"question": {"host": "a.example"}}
        }

    converse(talk)


def test_worker_that_is_gone_is_an_error_in_words() -> None:
    async def talk(inquiry: Inquiry) -> None:
        for asking in (inquiry.flows(1), inquiry.flow(1), inquiry.explanation(None)):
            assert "worker" in (await asking)["error"]

    converse(talk, is_there=False)
