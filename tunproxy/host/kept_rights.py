"""What the supervisor of ``up`` keeps of root's capabilities: what the service's unit leaves it, and no more.

    NET_ADMIN, NET_RAW           device, routes, rules, firewall; marks
    SETUID, SETGID, KILL         workers, which are another user
    DAC_READ_SEARCH, SYS_PTRACE  which program a flow is of; configurations of others
    BPF                          which worker gets a packet, which control group sent it
    CHOWN                        the control socket's group

Whoever has started it by hand may need more of it than a service does (``keep``). What is given up is gone
for all that it runs as well, such as checks of [apply].
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tunproxy.host import libc
from tunproxy.host.privileges import (
    CAP_KILL,
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_SETGID,
    CAP_SETUID,
    CAP_SYS_ADMIN,
    permitted,
)

# linux/capability.h
CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_DAC_READ_SEARCH: Final = 2
CAP_FOWNER: Final = 3
CAP_NET_BIND_SERVICE: Final = 10
CAP_SYS_PTRACE: Final = 19
CAP_BPF: Final = 39  # from Linux 5.8; SYS_ADMIN before

KEPT: Final = (
    CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN, CAP_NET_RAW,
    CAP_SYS_PTRACE, CAP_BPF,
)  # fmt: skip
LAST_CAP: Final = Path("/proc/sys/kernel/cap_last_cap")


def keep(*, writes_for_others: bool = False, listens: bool = False) -> None:
    """Give up all capabilities but KEPT; for this thread and those that it starts.

    writes_for_others keeps what it takes to replace files of other users, as ``undo`` does; listens, what it
    takes to listen at a port below 1024. What cannot be given up stays.
    """
    wanted = {*KEPT}
    wanted |= {CAP_DAC_OVERRIDE, CAP_FOWNER} if writes_for_others else set()
    wanted |= {CAP_NET_BIND_SERVICE} if listens else set()
    last = _last()
    wanted |= {CAP_SYS_ADMIN} if last < CAP_BPF else set()
    mask = sum(1 << each for each in wanted) & permitted()
    for each in range(last + 1):
        if each not in wanted:
            with contextlib.suppress(OSError):  # without SETPCAP: what is exec'd may get more than we have
                libc.prctl(libc.PR_CAPBSET_DROP, each)
    with contextlib.suppress(OSError):
        libc.capset(effective=mask, permitted=mask)


def belong_to_others(paths: Iterable[Path]) -> bool:
    """Tell whether one of these files is, or would be, in another user's folder."""
    us = os.geteuid()
    return any(_owner(path.absolute().parent) != us for path in paths)


def _owner(folder: Path) -> int:
    """Return whose a folder is; of one that does not exist, the one that it would be made in."""
    for each in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return each.stat().st_uid
    return 0


def _last() -> int:
    try:
        return int(LAST_CAP.read_text())
    except (OSError, ValueError):
        return CAP_BPF
