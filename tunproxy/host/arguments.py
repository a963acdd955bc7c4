"""This process's command line, as other users' ``ps`` sees it."""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# proc(5), /proc/PID/stat, counted behind the name in parentheses, which may hold anything
_ARG_START: Final = 48 - 3
_ARG_END: Final = 49 - 3


def hide_arguments(secrets: Sequence[str]) -> None:
    """Have stars stand in /proc/PID/cmdline wherever one of secrets stood; children inherit it.

    The octets are this process's memory, which it may write to. Until then, some ten milliseconds after the
    start, they can be read. Where the kernel does not tell where they are, they stay.
    """
    start, end = _place()
    if not 0 < start < end:
        return
    line = ctypes.string_at(start, end - start)
    for secret in filter(None, secrets):
        octets = os.fsencode(secret)
        at = line.find(octets)
        while at >= 0:
            ctypes.memset(start + at, ord("*"), len(octets))
            at = line.find(octets, at + len(octets))


def _place() -> tuple[int, int]:
    """Return the addresses of the first octet and behind the last; zeroes where they are not known."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, ValueError, IndexError):
        return 0, 0
