"""Questions and answers over a socket pair."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.unit.waiting import turns
from tunproxy.control import questions
from tunproxy.control.questions import (
    MAX_MESSAGE,
    GoneError,
    NoAnswerError,
    Questions,
    answer_on,
    socket_pair,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket_pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def converse(pair: Pair, answers: questions.Answers, talk: Callable[[Questions], Awaitable[None]]) -> None:
    """Let a supervisor talk to a worker that answers so."""

    async def both() -> None:
        answer_on(asyncio.get_running_loop(), pair[1], answers)
        await talk(Questions(pair[0]))

    asyncio.run(both())


def test_answer_comes_back(pair: Pair) -> None:
    async def talk(worker: Questions) -> None:
        assert await worker.ask("status") == {"flows": 3}
        assert await worker.ask("status") == {"flows": 3}

    converse(pair, {"status": lambda: {"flows": 3}}, talk)


def test_questions_at_once_get_each_its_answer(pair: Pair) -> None:
    async def talk(worker: Questions) -> None:
        found = await asyncio.gather(*[worker.ask(what) for what in ("one", "two", "one")])
        assert found == [{"n": 1}, {"n": 2}, {"n": 1}]

    converse(pair, {"one": lambda: {"n": 1}, "two": lambda: {"n": 2}}, talk)


def test_question_that_fails_is_told_and_the_next_is_answered(pair: Pair) -> None:
    def broken() -> object:
        raise RuntimeError("out of order")

    async def talk(worker: Questions) -> None:
        with pytest.raises(NoAnswerError, match=r"^the worker cannot tell: RuntimeError: out of order$"):
            await worker.ask("broken")
        with pytest.raises(NoAnswerError, match=r"^the worker cannot tell: KeyError: 'unheard of'$"):
            await worker.ask("unheard of")
        with pytest.raises(NoAnswerError, match=r"^the worker cannot tell: ValueError: an answer of"):
            await worker.ask("long")
        assert await worker.ask("status") == {}

    answers = {"broken": broken, "long": lambda: {"x": "y" * MAX_MESSAGE}, "status": dict}
    converse(pair, answers, talk)


def test_worker_that_is_silent_is_given_up_and_its_late_answer_skipped(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        worker = Questions(pair[0])
        monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.05)
        with pytest.raises(NoAnswerError, match=r"^the worker does not answer within 0\.05 s$"):
            await worker.ask("status")
        monkeypatch.setattr(questions, "ANSWER_SECONDS", 5)
        answer_on(asyncio.get_running_loop(), pair[1], {"status": lambda: {"late": 1}, "now": dict})
        assert await worker.ask("now") == {}

    asyncio.run(talk())


def test_worker_that_has_ended_is_told(pair: Pair) -> None:
    async def talk() -> None:
        pair[1].close()
        with pytest.raises(NoAnswerError, match=r"^the worker (has ended|cannot be asked)"):
            await Questions(pair[0]).ask("status")

    asyncio.run(talk())


@pytest.mark.parametrize("nonsense", [b"nonsense", b"[]", b"\xff", b"7"])
def test_nonsense_of_a_worker_is_no_answer(pair: Pair, nonsense: bytes) -> None:
    async def talk() -> None:
        pair[1].send(nonsense)
        with pytest.raises(NoAnswerError, match=r"^the worker answers nonsense$"):
            await Questions(pair[0]).ask("status")

    asyncio.run(talk())


def test_answer_that_is_no_object_is_none(pair: Pair) -> None:
    async def talk() -> None:
        pair[1].send(json.dumps({"id": 1, "answer": [1]}).encode())
        with pytest.raises(NoAnswerError, match=r"^the worker cannot tell"):
            await Questions(pair[0]).ask("status")

    asyncio.run(talk())


def test_nonsense_of_a_supervisor_does_not_end_the_worker(pair: Pair) -> None:
    async def talk() -> None:
        answer_on(asyncio.get_running_loop(), pair[1], {"status": dict})
        for nonsense in (b"nonsense", b"[]", b'{"id": 1}'):
            pair[0].send(nonsense)
        while True:
            said = json.loads(await asyncio.get_running_loop().sock_recv(pair[0], MAX_MESSAGE))
            assert "error" in said
            if said["id"] == 1:
                break
        assert await Questions(pair[0]).ask("status") == {}

    asyncio.run(talk())


def test_supervisor_that_does_not_read_holds_nobody_up(pair: Pair) -> None:
    async def talk() -> None:
        asked = []
        answer_on(
            asyncio.get_running_loop(), pair[1], {"status": lambda: asked.append(1) or {"x": "y" * 50_000}}
        )
        for number in range(20):
            pair[0].send(json.dumps({"id": number, "ask": "status"}).encode())
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(asked) == 20

    asyncio.run(talk())


def test_supervisor_that_is_gone_is_listened_to_no_more(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """That its last question has nobody who hears the answer is no news."""

    async def talk() -> None:
        loop = asyncio.get_running_loop()
        answer_on(loop, pair[1], {})
        pair[0].send(questions.KNOCK)
        pair[0].close()
        await turns(0.02)
        assert not loop.remove_reader(pair[1])

    asyncio.run(talk())
    assert caplog.text == ""


def test_descriptor_goes_along_with_a_question(pair: Pair) -> None:
    def read(fd: int) -> object:
        with os.fdopen(fd) as file:
            return {"text": file.read()}

    async def both() -> None:
        answer_on(asyncio.get_running_loop(), pair[1], {"plain": lambda: {"n": 1}}, {"read": read})
        worker = Questions(pair[0])
        ours, theirs = os.pipe()
        os.write(theirs, b"hello")
        os.close(theirs)
        assert await worker.ask("read", ours) == {"text": "hello"}
        os.close(ours)
        assert await worker.ask("plain") == {"n": 1}

    asyncio.run(both())


def test_descriptor_that_nobody_wants_is_closed(pair: Pair) -> None:
    async def both() -> None:
        answer_on(asyncio.get_running_loop(), pair[1], {"plain": lambda: {"n": 1}})
        ours, theirs = os.pipe()
        assert await Questions(pair[0]).ask("plain", theirs) == {"n": 1}
        os.close(theirs)
        assert os.read(ours, 1) == b""  # nobody has the other end any more
        os.close(ours)

    asyncio.run(both())


def test_descriptors_go_along_and_become_the_answerers(pair: Pair) -> None:
    seen: list[bytes] = []

    def take(*fds: int) -> object:
        for fd in fds:
            with os.fdopen(fd, "rb") as file:
                seen.append(file.read())
        return {"taken": len(fds)}

    async def both() -> None:
        answer_on(asyncio.get_running_loop(), pair[1], {}, {"take": take})
        worker = Questions(pair[0])
        fds = [os.memfd_create("test") for _ in range(2)]
        for number, fd in enumerate(fds):
            os.write(fd, b"%d" % number)
            os.lseek(fd, 0, os.SEEK_SET)
        assert await worker.ask("take", *fds) == {"taken": 2}
        for fd in fds:
            os.close(fd)  # still ours
        with pytest.raises(NoAnswerError, match="KeyError: 'take'"):
            await worker.ask("take")

    asyncio.run(both())
    assert seen == [b"0", b"1"]


def test_worker_is_heard_while_somebody_waits_for_a_long_answer(pair: Pair) -> None:
    async def talk(worker: Questions) -> None:
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(worker.ask("slow", patience=30))
        await asyncio.sleep(0)
        assert await worker.is_listening(1)  # which takes as long: whoever waits has the turn
        answered.set_result({"n": 1})
        assert await waiting == {"n": 1}
        assert await worker.ask("quick") == {"n": 2}
        assert await worker.is_listening(20)
        loop.remove_reader(pair[1])
        assert not await worker.is_listening(0.05)
        pair[1].close()
        with pytest.raises(GoneError):
            await worker.is_listening(20)

    async def slow() -> object:
        return await answered

    async def both() -> None:
        nonlocal answered
        answered = asyncio.get_running_loop().create_future()
        answer_on(asyncio.get_running_loop(), pair[1], {"slow": slow, "quick": lambda: {"n": 2}})
        await talk(Questions(pair[0]))

    answered: asyncio.Future[object]
    asyncio.run(both())
