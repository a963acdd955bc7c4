"""Standard error, which may be a terminal that was stopped, a pipe that nobody reads, or a full disk."""

import contextlib
import logging
import os
import select
import time
from collections.abc import Callable
from typing import Final

from tunproxy.logs.console import NAME

STDERR: Final = 2

# our choices
PATIENCE: Final = 0.5  # seconds that somebody who does not read is waited for
PORTION: Final = 4096  # octets: what a pipe takes without waiting that can be written to (pipe(7), PIPE_BUF)


class Stderr:
    """Writes lines, and counts those that nobody takes. It has no buffer: a forked process may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock: Final = clock
        self._lost = 0  # lines since one was taken

    def write(self, text: str) -> None:
        """Write text, which ends with a line. Never raises; waits for PATIENCE, and once only."""
        lost = self._lost
        were = "line was" if lost == 1 else "lines were"
        if lost and self._put(f"{NAME}{lost} {were} lost here\n", 0.0):
            self._lost = 0
        self._lost += not self._put(text, 0.0 if self._lost else PATIENCE)

    def _put(self, text: str, patience: float) -> bool:
        """Return whether somebody has taken all of text."""
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        until = self._clock() + patience
        with contextlib.suppress(OSError):  # a pipe that was closed, a full disk
            while data:
                if not select.select([], [STDERR], [], max(0.0, until - self._clock()))[1]:
                    return False
                data = data[os.write(STDERR, data[:PORTION]) :]
            return True
        return False


class StderrHandler(logging.Handler):
    """Writes records to standard error as its formatter has them."""

    def __init__(self, formatter: logging.Formatter, common: dict[str, str]) -> None:
        """common are the fields of all lines, which the formatter has as well."""
        super().__init__()
        self.common: Final = common
        self.setFormatter(formatter)
        self._stderr: Final = Stderr()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self._stderr.write(f"{formatted(self, record)}\n")


def formatted(handler: logging.Handler, record: logging.LogRecord) -> str:
    """Return record in a handler's form; a mistake of who logged is not ours: then as far as it goes."""
    try:
        return handler.format(record)
    except Exception as error:
        record.msg, record.args = f"{record.msg!r}, which cannot be written: {error!r}", None
        record.exc_info = record.exc_text = None
        return handler.format(record)
