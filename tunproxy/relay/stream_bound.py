"""Datagrams of one client for as long as its stream is open: what connect-udp and UDP ASSOCIATE share."""

import asyncio
from typing import TYPE_CHECKING, Final

from tunproxy.relay.stream import Stream

if TYPE_CHECKING:
    from tunproxy.relay.service import Service


class StreamBound:
    """Goes on in the coroutine that made it and calls ``run``, until the stream ends or somebody cuts it."""

    is_half_open: Final = False

    def __init__(self, stream: Stream, service: "Service") -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._stream: Final = stream
        self._service: Final = service
        self._task = asyncio.current_task()
        self.active_at = self._loop.time()

    async def run(self) -> None:
        """Carry datagrams until the client's stream ends, or ``cut`` is called."""
        self._service.begin(self)
        try:
            await self._attend()
        except OSError:
            pass  # the stream has broken, which ends it as well
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._task is not None or task is None:  # not by cut: somebody else's
                raise
            task.uncancel()
        finally:
            self._service.end(self)

    def cut(self, why: str) -> None:
        """End it now; run returns."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _attend(self) -> None:
        """Read the client's stream to its end."""
        raise NotImplementedError
