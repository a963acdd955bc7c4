"""What a supervisor asks its worker while it runs: questions and answers over a socket pair.

    supervisor ── {"id": 7, "ask": "status"} ──▶ worker
               ◀── {"id": 7, "answer": {…}} ──

One message is one question or one answer in JSON. The worker answers from its loop's own turn; as long as
nobody asks, all this is one more descriptor in its epoll. Neither side waits for the other without limit:
a worker whose supervisor does not read drops the answer, and a supervisor gives up after ANSWER_SECONDS.
A question may come with descriptors, which its answerer then owns; then the answerer may be a coroutine.
The supervisor trusts no answer: the worker is the one who faces the network.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final  # Any as json gives it

from tunproxy.errors import TunproxyError

MAX_MESSAGE: Final = 128 << 10  # octets; the kernel's usual limit for a message is 208 KiB

# our choice: a worker answers in less than a millisecond; one with a slow plugin may take a while
ANSWER_SECONDS: Final = 2.0

KNOCK: Final = json.dumps({"id": "knock", "ask": "knock"}).encode()  # what every worker answers, out of turn

_log: Final = logging.getLogger(__name__)

Answers = Mapping[str, Callable[[], object]]
FdAnswers = Mapping[str, Callable[..., object]]  # of as many descriptors as come with the question
MAX_FDS: Final = 2  # our choice: more than that no question has


class NoAnswerError(TunproxyError):
    """The worker does not answer, or not sensibly."""


class GoneError(NoAnswerError):
    """The worker has ended; another one may take its place."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the ends of the supervisor and the worker, both non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def answer_on(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    answers: Answers,
    fd_answers: FdAnswers | None = None,
) -> None:
    """Answer what comes over the worker's end, by the functions in answers, until the other end is closed.

    Those in fd_answers get the descriptors that come with the question; without any it has no answer.
    """
    with_fd = fd_answers or {}
    answers = {"knock": dict, **answers}
    tasks: set[asyncio.Task[None]] = set()

    def send(said: bytes) -> None:
        try:
            sock.send(said)
        except (BrokenPipeError, ConnectionResetError):
            pass  # its reader has just ended, of which this end hears by itself
        except OSError as error:  # it does not read
            _log.warning("cannot answer the supervisor: %s", error)

    async def send_later(number: object, answer: Awaitable[object]) -> None:
        try:
            send(_worded(number, await answer))
        except Exception as error:  # must not end the packet path
            send(_failed(number, error))

    def on_question() -> None:
        try:
            message, fds, _, _ = socket.recv_fds(sock, MAX_MESSAGE, MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            message, fds = b"", []
        if not message:
            loop.remove_reader(sock)
            return
        number = None
        try:
            question = json.loads(message)
            number = question["id"]
            what = question["ask"]
            if fds and what in with_fd:
                given, fds = fds, []
                answer = with_fd[what](*given)
            else:
                answer = answers[what]()
            if asyncio.iscoroutine(answer):
                task = loop.create_task(send_later(number, answer), name=f"answer {what}")
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                send(_worded(number, answer))
        except Exception as error:  # must not end the packet path
            send(_failed(number, error))
        finally:
            for fd in fds:
                os.close(fd)

    loop.add_reader(sock, on_question)


def _worded(number: object, answer: object) -> bytes:
    said = json.dumps({"id": number, "answer": answer}).encode()
    if len(said) > MAX_MESSAGE:
        raise ValueError(f"an answer of {len(said)} octets")
    return said


def _failed(number: object, error: Exception) -> bytes:
    _log.error("cannot answer question %r", number, exc_info=error)
    return json.dumps({"id": number, "error": f"{type(error).__name__}: {error}"[:500]}).encode()


class Questions:
    """The supervisor's end. Questions are asked one after the other, all on one loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock: Final = sock
        self._turn: Final = asyncio.Lock()
        self._number = 0
        self._heard = 0  # messages

    async def is_listening(self, patience: float) -> bool:
        """Tell whether the worker says anything within so many seconds; raises GoneError.

        It need not have its turn for that: whoever waits for a long answer hears this one as well.
        """
        heard = self._heard
        try:
            try:
                self._sock.send(KNOCK)
            except BlockingIOError:
                pass  # it has not read for long
            async with asyncio.timeout(patience), self._turn:
                while self._heard == heard:
                    await self._receive()
        except TimeoutError:
            pass
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise GoneError(f"the worker cannot be asked: {why}") from error
        return self._heard != heard

    async def ask(self, what: str, *fds: int, patience: float | None = None) -> dict[str, Any]:
        """Return the worker's answer; raises NoAnswerError. fds, if any, go along; they stay ours as well.

        patience is in seconds, ANSWER_SECONDS unless given.
        """
        if patience is None:
            patience = ANSWER_SECONDS
        try:
            async with asyncio.timeout(patience), self._turn:
                return await self._ask(what, fds)
        except TimeoutError:
            raise NoAnswerError(f"the worker does not answer within {patience:g} s") from None
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise GoneError(f"the worker cannot be asked: {why}") from error

    async def close(self) -> None:
        """Let go of the worker's socket, when who has asked has heard that there is no answer."""
        async with self._turn:
            self._sock.close()

    async def _ask(self, what: str, fds: tuple[int, ...]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        self._number += 1
        message = json.dumps({"id": self._number, "ask": what}).encode()
        if not fds:
            await loop.sock_sendall(self._sock, message)
        else:
            socket.send_fds(self._sock, [message], fds)  # whole or not at all; room there is
        while True:
            message = await self._receive()
            try:
                said = json.loads(message)
            except ValueError:
                said = None
            if not isinstance(said, dict):
                raise NoAnswerError("the worker answers nonsense")
            if said.get("id") != self._number:
                continue  # late: who asked that has given up
            answer = said.get("answer")
            if not isinstance(answer, dict):
                raise NoAnswerError(f"the worker cannot tell: {said.get('error')}")
            return answer

    async def _receive(self) -> bytes:
        message = await asyncio.get_running_loop().sock_recv(self._sock, 2 * MAX_MESSAGE)
        if not message:
            raise GoneError("the worker has ended")
        self._heard += 1
        return message
