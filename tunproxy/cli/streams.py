"""The standard streams, which whoever starts us may have closed, or let lead to a full disk."""

import errno
import os
import select
import sys
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def open_closed() -> None:
    """Have /dev/null stand for standard streams that are closed; programs that we start have them closed.

    Else what we open next would be one of them: a device, say, into which lines for people would then go.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # the lowest that is free, which is this one
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def has_hung_up(number: int) -> bool:
    """Tell whether the terminal behind a descriptor has gone, or the other end of a pipe."""
    poll = select.poll()
    poll.register(number, 0)  # these are told in any case
    return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def why_full(met: OSError) -> str:
    """Return why standard output takes nothing more, "" where it does, and the error that was met is another.

    What it has not taken is lost then, so that nobody stumbles over it again as the process ends.
    """
    if met.errno not in FULL:
        return ""
    try:
        sys.stdout.write("\n")  # what has failed may be forgotten already: only another try tells
        sys.stdout.flush()
    except OSError as error:
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
        return (error.strerror or str(error)).lower()
    return ""
