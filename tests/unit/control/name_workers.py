"""Workers that say about names what a test wants, behind the real questions."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunproxy.control.letters import answering
from tunproxy.control.questions import Questions, answer_on, socket_pair


class NameWorker:
    """Answers "names" and "drain" with state, and remembers resolvers; for the running loop."""

    def __init__(self, **state: object) -> None:
        self.state: dict[str, object] = {"is_answering": True, "has_fakes": False, **state}
        self.asked: list[str] = []
        self.resolvers: list[list[str]] = []
        self._ours, self._theirs = socket_pair()
        self.questions = Questions(self._ours)
        self._loop = asyncio.get_running_loop()
        answer_on(
            self._loop,
            self._theirs,
            {name: lambda name=name: self._answer(name) for name in ("names", "drain")},  # type: ignore[misc]
            {"resolvers": answering(self._take)},
        )

    def close(self) -> None:
        """Be a worker that has ended. May be repeated."""
        if self._theirs.fileno() < 0:
            return
        self._loop.remove_reader(self._theirs)
        self._ours.close()
        self._theirs.close()

    def _answer(self, name: str) -> dict[str, object]:
        self.asked.append(name)
        return self.state

    def _take(self, about: Any) -> dict[str, object]:
        self.resolvers.append(about["resolvers"])
        return {}


@contextmanager
def name_worker(**state: object) -> Iterator[NameWorker]:
    worker = NameWorker(**state)
    try:
        yield worker
    finally:
        worker.close()
