"""What a process is doing, as far as the kernel tells, and where in its code, as far as it tells itself.

Both are for a process that does not answer: was it kept from running, or does it not want to?
"""

import contextlib
import faulthandler
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# proc(5), /proc/pid/stat, field 3
STOPPED: Final = "T"
TRACED: Final = "t"
WAITS_FOR_DISK: Final = "D"

SIGNAL: Final = signal.SIGUSR2  # our choice: has a process write down where it is
MAX_SHOT: Final = 16_384

_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_OURS: Final = re.compile(r"/tunproxy/(?!plugins/)|/pluggy/|/asyncio/|/selectors\.py$|<frozen ")


@dataclass(frozen=True)
class Activity:
    """state of a process's first thread is a letter of proc(5); waited is seconds, for a processor."""

    state: str
    waited: float


def activity_of(pid: int, proc: Path = Path("/proc")) -> Activity | None:
    """Return what a process is doing; None where that cannot be seen.

    A kernel that does not count what is waited says 0.
    """
    try:
        state = (proc / f"{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    waited = 0
    with contextlib.suppress(OSError, IndexError, ValueError):
        waited = int((proc / f"{pid}/schedstat").read_text().split()[1])  # nanoseconds: sched-stats.rst
    return Activity(state, waited / 1e9)


class Shot:
    """A file in memory into which a process writes down, on SIGNAL, where its first thread is."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.fd: Final = os.memfd_create("tunproxy-where")
        self._seen = 0

    def close(self) -> None:
        os.close(self.fd)

    def take_here(self) -> None:
        """Have this process write on SIGNAL; what it is busy with does not matter, not even in C."""
        faulthandler.register(SIGNAL, file=self.fd, all_threads=False)

    def ask(self, pid: int) -> None:
        """Have a process that has called take_here write."""
        self._seen = len(self._text())
        with contextlib.suppress(OSError):
            os.kill(pid, SIGNAL)

    def place(self) -> str:
        """Return where it is, once it has written; "" before that, and where it is in no code of others."""
        text = self._text()[self._seen :]
        return place_in(text) if text.endswith("\n") else ""

    def _text(self) -> str:
        return os.pread(self.fd, MAX_SHOT, 0).decode(errors="replace")


def place_in(stack: str) -> str:
    """Return the place in somebody else's code that a stack of Python's leads to, "" where there is none.

    The newest call comes first (faulthandler). What others' libraries do for a plugin is above it, so the
    last call before the first one of ours is where the plugin is.
    """
    found = ""
    for path, line, name in _FRAME.findall(stack):
        if _OURS.search(path):
            break
        found = f"{name} ({path}:{line})"
    return found
