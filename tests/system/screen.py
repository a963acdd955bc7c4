"""A program on a terminal of its own, and what that terminal would show: pexpect types, pyte draws."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import pexpect
import pyte

from tests.system.namespace import Namespace

PATIENCE = 30.0  # seconds until something is shown, on a machine that does other things too


class Screen:
    """Runs argv in a namespace, at a terminal of that size."""

    def __init__(
        self,
        namespace: Namespace,
        *argv: str,
        columns: int = 80,
        lines: int = 24,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""  # what the program has written
        ours = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment = {**ours, "TERM": "xterm-256color", **(env or {})}  # those would stand for the size
        with namespace.entered():
            self.program = pexpect.spawn(
                argv[0], list(argv[1:]), dimensions=(lines, columns), env=environment, timeout=PATIENCE
            )

    def __enter__(self) -> "Screen":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.program.close(force=True)

    def type(self, keys: str) -> None:
        self.program.send(keys)

    def resize(self, columns: int, lines: int) -> None:
        """Change the terminal's size, as a window does that is pulled at."""
        self._screen.resize(lines, columns)
        self.program.setwinsize(lines, columns)

    @property
    def lines(self) -> list[str]:
        """What is shown now."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def colours(self) -> set[str]:
        """The colours of what is shown."""
        shown = (cell for line in self._screen.buffer.values() for cell in line.values())
        return {colour for cell in shown for colour in (cell.fg, cell.bg)}

    def until(self, is_shown: Callable[[str], object], timeout: float = PATIENCE) -> str:
        """Return what is shown, once it is so."""
        until = time.monotonic() + timeout
        while not is_shown(text := "\n".join(self.lines)):
            assert time.monotonic() < until, (
                f"the terminal shows something else:\n{text}\n{self.raw[-500:]!r}"
            )
            self._read()
        return text

    def shows(self, words: str) -> str:
        """Return what is shown, once the words are there."""
        return self.until(lambda text: words in text)

    def end(self) -> int | None:
        """Return the exit code of a program that is about to end; None where a signal has ended it."""
        until = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < until, "it does not end"
        self.program.close()
        code: int | None = self.program.exitstatus
        return code

    def _read(self) -> bool:
        """Take what the program writes, if it does soon; return whether it still may."""
        with contextlib.suppress(pexpect.TIMEOUT):
            try:
                said = self.program.read_nonblocking(1 << 16, timeout=0.1)
            except pexpect.EOF:
                return False
            self.raw += said
            self._stream.feed(said)
        return True
