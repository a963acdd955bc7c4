"""Tells workers what the network around is like: each of them, once, until it is different.

Whoever takes a dead worker's place is told like all others, and who does not answer is told again. None of
them holds up whoever has the news.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any as JSON has it

from tunproxy.control.letters import ask_at_length
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.control.serving import tell

# our choice
RETRY: Final = 1.0  # seconds until a worker that did not answer is told again

_log: Final = logging.getLogger(__name__)


class WorkersTold:
    """workers may be exchanged for others while this goes on."""

    def __init__(self, workers: Sequence[Questions]) -> None:
        self._workers: Final = workers
        self._about: Mapping[str, Any] | None = None
        self._told: Final[dict[int, tuple[Questions, Mapping[str, Any]]]] = {}  # by place
        self._untold: Final = asyncio.Event()  # there may be one who does not know

    def say(self, about: Mapping[str, Any]) -> None:
        """Have all workers know, who do not yet."""
        self._about = about
        self._untold.set()

    async def keep_telling(self) -> None:
        """Do it, until this is cancelled."""
        while True:
            await self._untold.wait()
            self._untold.clear()
            about = self._about
            if about is None:
                continue
            try:
                resets = await asyncio.gather(
                    *(self._tell(place, worker, about) for place, worker in enumerate(self._workers))
                )
            except Exception:  # ours: the rest goes on
                _log.exception("workers were not told of the network")
                continue
            if sum(resets):
                tell(f"{sum(resets)} connections were reset: their addresses are this host's no more")

    async def _tell(self, place: int, worker: Questions, about: Mapping[str, Any]) -> int:
        """Tell a worker, unless it knows; return how many connections that has cost."""
        told = self._told.get(place)
        if told is not None and told[0] is worker and told[1] == about:
            return 0
        try:
            answer = await ask_at_length(worker, "uplink", about)
        except NoAnswerError as error:
            _log.info("a worker was not told of the network: %s", error)
            asyncio.get_running_loop().call_later(RETRY, self._untold.set)
            return 0
        self._told[place] = (worker, about)
        resets = answer.get("reset", 0)
        return resets if isinstance(resets, int) else 0
