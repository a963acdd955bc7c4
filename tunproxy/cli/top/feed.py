"""The stream of a running tunproxy, read in a thread, and taken up again when tunproxy is back."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.client import NotRunningError, choose, watch_flows
from tunproxy.control.endpoint import Found
from tunproxy.errors import TunproxyError

RETRY_SECONDS: Final = 1.0  # our choice

Choose = Callable[[], Found]


class Feed:
    """Calls, from its thread, on_found with whom it has found, on_told with each object that comes.

    When none comes any more, it calls on_lost with the reason, and looks again, until it is closed. What it
    calls must not raise.
    """

    def __init__(
        self,
        tun: str,
        socket: str,
        seconds: float,
        *,
        on_found: Callable[[Found], None],
        on_told: Callable[[Mapping[str, Any]], None],
        on_lost: Callable[[str], None],
        retry: float = RETRY_SECONDS,
    ) -> None:
        """tun and socket say which tunproxy is meant; seconds are between two looks."""
        self._which: Final = tun, socket
        self._seconds: Final = seconds
        self._on_found: Final = on_found
        self._on_told: Final = on_told
        self._on_lost: Final = on_lost
        self._retry: Final = retry
        self._closed: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Call nobody any more; the thread ends with the next object, or the process."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            why = ""
            try:
                found = choose(*self._which)
                self._tell(self._on_found, found)
                self._read(found.path)
            except NotRunningError:
                why = "tunproxy has stopped"
            except TunproxyError as error:
                why = str(error)
            self._tell(self._on_lost, why)
            self._closed.wait(self._retry)

    def _read(self, path: Path) -> None:
        for told in watch_flows(path, self._seconds):
            self._tell(self._on_told, told)
            if self._closed.is_set():
                return

    def _tell(self, function: Callable[[Any], None], what: object) -> None:
        if not self._closed.is_set():
            function(what)
