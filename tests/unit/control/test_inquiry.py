"""What the supervisor answers about flows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tunproxy.control.inquiry import Inquiry
from tunproxy.control.letters import About, answering
from tunproxy.control.questions import Questions, answer_on, socket_pair


def converse(
    talk: Callable[[Inquiry], Awaitable[None]],
    *,
    is_there: bool = True,
    more: dict[str, Callable[[int], object]] | None = None,
) -> None:
    """Let talk ask a worker that answers with what it was asked."""

    async def both() -> None:
        ours, theirs = socket_pair()

        def echo(what: str) -> Callable[[int], object]:
            def answer(about: About) -> object:
                return {what: dict(about)}

            return answering(answer)

        if is_there:
            loop = asyncio.get_running_loop()
            answers = {what: echo(what) for what in ("flows", "flow", "explain")}
            answer_on(loop, theirs, {}, answers | (more or {}))
        else:
            theirs.close()
        await talk(Inquiry([Questions(ours)], lane))
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


def lane(address: str, port: int) -> str:
    return "10.0.0.0/8" if address.startswith("10.") and port != 53 else ""


def test_explanation_tells_that_packets_stay_in_the_kernel() -> None:
    def record(about: About) -> object:
        question: Any = about["question"]
        return {"flow": {"target": question["address"], "target_port": question["port"]}}

    async def talk(inquiry: Inquiry) -> None:
        for address, port, prefix in (
            ("10.1.1.1", 80, "10.0.0.0/8"),
            ("10.1.1.1", 53, None),
            ("192.0.2.1", 80, None),
            (None, 80, None),
        ):
            found = await inquiry.explanation({"address": address, "port": port})
            assert found.get("kernel_direct") == prefix

    converse(talk, more={"explain": answering(record)})


def test_explanation_tells_that_packets_do_not_come_to_us() -> None:
    def record(about: About) -> object:
        return {"flow": {"target": about["question"], "target_port": 80}}

    def left_alone(found: dict[str, Any]) -> str:
        return "it is this host itself" if found["flow"]["target"] == "127.0.0.1" else ""

    async def check() -> None:
        ours, theirs = socket_pair()
        answer_on(asyncio.get_running_loop(), theirs, {}, {"explain": answering(record)})
        inquiry = Inquiry([Questions(ours)], left_alone=left_alone)
        assert (await inquiry.explanation("127.0.0.1"))["left_alone"] == "it is this host itself"
        assert "left_alone" not in await inquiry.explanation("192.0.2.1")

    asyncio.run(check())


def test_worker_that_is_gone_is_an_error_in_words() -> None:
    async def talk(inquiry: Inquiry) -> None:
        for asking in (inquiry.flows(1), inquiry.flow(1), inquiry.explanation(None)):
            assert "worker" in (await asking)["error"]

    converse(talk, is_there=False)


def test_flows_of_several_workers_are_one_list_and_a_number_tells_whose_it_is() -> None:
    """Numbers as ``FlowWatcher.count_as`` gives them."""

    def flows(number: int) -> Callable[[int], object]:
        rows = [{"number": number + 1 + 2 * age, "age_seconds": 10 * age + number} for age in range(3)]
        return answering(lambda about: {"open": 1, "kept": 2, "begun": 3, "flows": rows[: about["limit"]]})

    def flow(number: int) -> Callable[[int], object]:
        return answering(lambda about: {"worker": number, "number": about["number"]})

    async def both() -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket_pair() for _ in range(2)]
        for number, (_, theirs) in enumerate(pairs):
            answer_on(loop, theirs, {}, {"flows": flows(number), "flow": flow(number)})
        inquiry = Inquiry([Questions(ours) for ours, _ in pairs])
        found = await inquiry.flows(4)
        assert [row["age_seconds"] for row in found["flows"]] == [0, 1, 10, 11]
        assert {key: found[key] for key in ("open", "kept", "begun")} == {"open": 2, "kept": 4, "begun": 6}
        assert [(await inquiry.flow(number))["worker"] for number in (1, 2, 3, 4)] == [0, 1, 0, 1]
        loop.remove_reader(pairs[0][1])
        pairs[0][1].close()  # one of them ends
        assert [row["number"] for row in (await inquiry.flows(9))["flows"]] == [2, 4, 6]
        assert "error" in await inquiry.flow(1)

    asyncio.run(both())


def test_explanation_is_anybodys_who_answers() -> None:
    async def both() -> None:
        (gone, end), (ours, theirs) = socket_pair(), socket_pair()
        end.close()
        answer_on(
            asyncio.get_running_loop(),
            theirs,
            {},
            {"explain": answering(lambda about: {"verdict": "direct"})},
        )
        inquiry = Inquiry([Questions(gone), Questions(ours)])
        assert await inquiry.explanation({"host": "a.example"}) == {"verdict": "direct"}

    asyncio.run(both())
