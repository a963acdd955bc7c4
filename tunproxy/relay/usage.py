"""What a process of ours uses, by what the kernel says of it to others (proc(5))."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")  # in a second
_UTIME: Final = 11  # fields of stat behind the name, which ends with the last bracket
_STIME: Final = 12


@dataclass(frozen=True)
class Usage:
    """Seconds of processor time, and octets of memory that the process shares with nobody."""

    cpu_seconds: float
    memory: int


def usage_of(pid: int) -> Usage | None:
    """Return what a process uses; None where there is none, or it may not be looked at."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"RssAnon:\s+(\d+) kB", status)  # a process that is over has no memory
    return Usage((int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS, 1024 * int(found[1]) if found else 0)
