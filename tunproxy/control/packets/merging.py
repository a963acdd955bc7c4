"""The supervisor's side of one capture: one file of what all workers ship.

Packets of several workers are put in order batch by batch.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, Final  # Any: documents, as JSON has them

from tunproxy.control.packets.arrivals import Arrivals
from tunproxy.control.packets.blocks import FileBlocks, Wish
from tunproxy.control.questions import Questions

# our choices
BATCH_SECONDS: Final = 0.05
LAST_WORDS_SECONDS: Final = 2.0
CHUNK: Final = 256 << 10  # octets of a portion, about


class Merger:
    """One capture, which begins with open. workers may be exchanged for others meanwhile."""

    def __init__(self, workers: Sequence[Questions], wish: Wish) -> None:
        self._wish: Final = wish
        self._arrivals: Final = Arrivals(workers, wish)
        self._is_ending = False
        self._blocks: Final = FileBlocks(wish, len(workers))
        self._began_at: Final = time.monotonic()

    @property
    def packets(self) -> int:
        """How many packets are in the file."""
        return self._blocks.packets

    @property
    def octets(self) -> int:
        """How long the file is."""
        return self._blocks.octets

    async def open(self) -> None:
        """Have all workers begin. Raises RefusedError, and NoAnswerError where none answers."""
        await self._arrivals.open()

    def end(self) -> None:
        """Have what blocks yields come to its end."""
        self._is_ending = True
        self._arrivals.stop()

    async def close(self) -> None:
        """Let go of everything at once."""
        await self._arrivals.close()

    def document(self) -> dict[str, Any]:
        """Return how far it has come."""
        return {
            "filter": self._wish.filter_text,
            "packets": self.packets,
            "octets": self.octets,
            "lost": self._arrivals.lost,
            "seconds": round(time.monotonic() - self._began_at, 3),
        }

    async def blocks(self, is_wanted: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
        """Yield the file in portions of whole blocks, until a bound is met, or end is called.

        After that come the statistics. Where is_wanted says no, nothing more comes.
        """
        yield self._blocks.head(self._arrivals.told)
        while not self._is_over():
            await self._arrivals.wait(BATCH_SECONDS)
            if not is_wanted():
                return
            for portion in self._portions():
                yield portion
        self._arrivals.say_goodbye()
        until = time.monotonic() + LAST_WORDS_SECONDS
        while time.monotonic() < until:
            is_last = self._arrivals.is_complete
            for portion in self._portions():
                yield portion
                until = time.monotonic() + LAST_WORDS_SECONDS
            if is_last:
                break
            await self._arrivals.wait(BATCH_SECONDS)
            if not is_wanted():
                return
        yield self._statistics()

    def _is_over(self) -> bool:
        seconds = self._wish.seconds
        passed = time.monotonic() - self._began_at
        return self._is_ending or self._blocks.is_full() or bool(seconds and passed >= seconds)

    def _portions(self) -> Iterator[bytes]:
        """Yield what has come in blocks, as far as it is within the bounds."""
        parts: list[bytes] = []
        gathered = 0
        for _, place, record in self._arrivals.take():
            if self._blocks.is_full():
                break
            made = self._blocks.block(place, record)
            parts.append(made)
            gathered += len(made)
            if gathered >= CHUNK:
                yield b"".join(parts)
                parts, gathered = [], 0
        if parts:
            yield b"".join(parts)

    def _statistics(self) -> bytes:
        counted = self._arrivals.counts.values()
        lost = max(sum(each.lost for each in counted), self._arrivals.lost)
        return self._blocks.statistics(sum(each.seen for each in counted), lost, self._arrivals.deaths)
