"""How far a long operation is, for who looks on at a terminal; where nobody does, nothing is shown.

Only on standard error, only where that is a terminal, and only from half a second on: what is done by then
shows nothing and costs nothing, not even the library. What is shown vanishes in the end, however that comes.
Standard output is never touched, so that what is piped from it stays whole.

    with showing("training") as progress:            nobody knows how long it takes
        for file in progress.each(files, "reading"): now somebody does
            …
        progress.begins("learning")                  again nobody
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Final, TextIO, TypeVar

if TYPE_CHECKING:
    from tunproxy.progress_bar import Bar

# our choices
PATIENCE: Final = 0.5  # seconds that may pass before anything is shown
PER_SECOND: Final = 5  # how often what is shown changes: little enough for a slow line

Item = TypeVar("Item")


@contextlib.contextmanager
def showing(
    words: str, total: float | None = None, *, is_quiet: bool = False, patience: float = PATIENCE
) -> "Iterator[Progress]":
    """Yield what is told of the progress of an operation, which words name. total is of ``advance``'s steps.

    Where nobody would see it, or is_quiet, what is told goes nowhere. patience is in seconds.
    """
    progress = Progress(words, total)
    if is_quiet or not is_seen(sys.stderr):
        yield progress
        return
    timer = threading.Timer(patience, progress.show)
    timer.daemon = True  # nobody waits for it, should the process end some other way
    timer.start()
    try:
        yield progress
    finally:
        timer.cancel()
        progress.end()


def is_seen(stream: TextIO) -> bool:
    """Tell whether somebody looks at stream, at a terminal that can take back what it shows."""
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except (AttributeError, ValueError):  # nobody has given us such a stream, or it is closed
        return False


class Progress:
    """How far an operation is; every method may be called from any thread, and costs next to nothing."""

    def __init__(self, words: str, total: float | None) -> None:
        self._lock: Final = threading.Lock()
        self._bar: Bar | None = None
        self._has_ended = False
        self._words = words
        self._total = total
        self._done = 0.0

    def advance(self, steps: float = 1) -> None:
        """Tell that so many more of the total steps are done."""
        self._done += steps  # read by the bar when it is drawn next

    def begins(self, words: str, total: float | None = None) -> None:
        """Tell that another part of the operation begins, with steps of its own."""
        with self._lock:
            self._words, self._total, self._done = words, total, 0.0
            if self._bar is not None:
                self._bar.remove_task(self._bar.tasks[0].id)
                self._bar.add_task(words, total=total)

    def each(self, items: Iterable[Item], words: str, total: float | None = None) -> Iterator[Item]:
        """Yield items, and tell how many are done; total is how many there are, where len() does not say."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        self.begins(words, total)
        for item in items:
            yield item
            self.advance()

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Show nothing within the context: there, other lines may go to the same terminal."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            try:
                yield
            finally:
                if self._bar is not None:
                    self._bar.start()

    # what ``showing`` calls

    def show(self) -> None:
        """Show it from now on, until ``end``."""
        from tunproxy.progress_bar import make_bar  # with a library that takes its time

        with self._lock:
            if not self._has_ended and self._bar is None:
                self._bar = make_bar(sys.stderr, PER_SECOND, lambda: self._done)
                self._bar.add_task(self._words, total=self._total)
                self._bar.start()

    def end(self) -> None:
        """Take back what is shown."""
        with self._lock:
            self._has_ended = True
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
