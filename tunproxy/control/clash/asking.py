"""Asks workers for the API: one, or all and adds up."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.letters import ask_at_length
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.errors import TunproxyError

# our choice
LOOK_SECONDS: Final = 0.05  # between two looks at whether an errand is done


class RefusedError(TunproxyError):
    """A worker says why it does not do what it was asked."""


class Asking:
    """workers may change in place; there is at least one."""

    def __init__(self, workers: Sequence[Questions]) -> None:
        self._workers: Final = workers

    async def first(self, what: str, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the first worker's answer; raises RefusedError and NoAnswerError."""
        return _checked(await ask_at_length(self._workers[0], what, about or {}))

    async def each(self, what: str, about: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the answers of all workers that answer, NoAnswerError where none does.

        Raises RefusedError where one refuses: all have the same policy.
        """
        return [
            answer
            for answer in await self.every([(what, about or {})] * len(self._workers))
            if answer is not None
        ]

    async def every(self, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any] | None]:
        """Return what each worker answers to its own question, None for one that does not.

        Raises NoAnswerError where none answers.
        """
        asking = [
            ask_at_length(worker, *each) for worker, each in zip(list(self._workers), asked, strict=False)
        ]
        found = await asyncio.gather(*asking, return_exceptions=True)
        answers: list[dict[str, Any] | None] = []
        for each in found:
            if isinstance(each, NoAnswerError):
                answers.append(None)
            elif isinstance(each, BaseException):
                raise each
            else:
                answers.append(_checked(each))
        if not any(answer is not None for answer in answers):
            raise next((each for each in found if isinstance(each, NoAnswerError)), NoAnswerError("nobody"))
        return answers

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    async def errand(self, what: str, about: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """Return the result of what takes the first worker up to patience seconds.

        Raises RefusedError and NoAnswerError.
        """
        worker = self._workers[0]  # the ticket is its own, also if another one takes its place meanwhile
        ticket = _checked(await ask_at_length(worker, what, about))
        try:
            async with asyncio.timeout(patience):
                while True:
                    found = _checked(await ask_at_length(worker, "helm-errand", ticket))
                    if found.get("is_done") is True:
                        break
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NoAnswerError(f"not done within {patience:g} s") from None
        result = found.get("result")
        if not isinstance(result, dict):
            raise NoAnswerError("the worker answers nonsense")
        return result


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise RefusedError(str(answer["error"]))
    return answer
