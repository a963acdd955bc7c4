"""What a worker tells of itself when it is asked: counts of now, and counters since its start."""

import contextlib
import os
import re
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tunproxy.control.helm.rule_list import observed_rules
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.live_names import LiveNames
from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.counters import Counters
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.plugin.ledger import Ledger
from tunproxy.upstream.opening import AsyncOpener
from tunproxy.version import describe
from tunproxy.wire.reasons import NAMES, OK
from tunproxy.wire.vnet import VNET_LEN

MAX_TEXTS: Final = 50  # plugins that are reported
MAX_TEXT: Final = 300  # letters of a report
MAX_OBSERVED: Final = 50  # rules that only count

_TRAFFIC: Final = ("frames_in", "frames_out", "bytes_in", "bytes_out")
_ELSEWHERE: Final = (*_TRAFFIC, "turns", "memory_held")


class Snapshot:
    """Looks at the parts of one packet path; calling it returns what ``status`` adds up."""

    def __init__(
        self,
        counters: Counters,
        tcp: TcpTable,
        datagrams: DatagramTable,
        opener: AsyncOpener,
        keeper: PolicyKeeper,
        names: LiveNames,
    ) -> None:
        self._counters: Final = counters
        self._tcp: Final = tcp
        self._datagrams: Final = datagrams
        self._opener: Final = opener
        self.keeper: Final = keeper
        self._names: Final = names
        self._began_at: Final = time.monotonic()

    def __call__(self) -> dict[str, object]:
        policy = self.keeper.policy
        tcp, datagrams = self._tcp.statistics(), self._datagrams.statistics()
        opener = self._opener.statistics()
        counters = self._counters.snapshot()
        traffic = {name: counters[name] for name in _TRAFFIC}
        for way in ("in", "out"):  # without the header that the device puts in front of each packet
            traffic[f"bytes_{way}"] = max(traffic[f"bytes_{way}"] - VNET_LEN * traffic[f"frames_{way}"], 0)
        return {
            "version": describe(),
            "flows": {
                "tcp": tcp["flows"],
                "tcp_embryos": tcp["embryos"],
                "tcp_time_wait": tcp["time_wait"],
                "udp": datagrams["associations"],
                "icmp_echo": datagrams["echo_sessions"],
                "memory_bytes": counters["memory_held"],
            },
            "traffic": traffic,
            "counters": {
                name: count
                for name, count in counters.items()
                if name not in _ELSEWHERE and not name.startswith("drop_")
            },
            "drops": {
                NAMES[reason]: count for reason, count in enumerate(self._counters.drops) if reason != OK
            },
            "opener": {"pending": opener.pending, "opened": opener.opened, "failed": opener.failed},
            "upstream_faults": dict(opener.faults),
            "plugins": policy.plugins.names[:MAX_TEXTS],
            "plugin_faults": policy.plugins.ledger.faults(),
            "plugins_suspended": _suspended(policy.plugins.ledger),
            "plugin_problems": _short(policy.plugins.problems),
            "policy": self.keeper.state(),
            "observed": observed_rules(policy, MAX_OBSERVED),
            "dns": self._names.statistics(),
            "worker": {
                "pid": os.getpid(),
                "uptime_seconds": round(time.monotonic() - self._began_at, 3),
                "turns": counters["turns"],
                "descriptors": count_descriptors(),
                "descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                "memory_bytes": resident_memory(),
                "cpu_seconds": round(time.process_time(), 3),
            },
        }


def count_descriptors() -> int:
    """Return how many files this process has open."""
    with contextlib.suppress(OSError):
        count = os.stat("/proc/self/fd").st_size  # from Linux 6.2 on; a list of thousands takes its time
        return count or len(os.listdir("/proc/self/fd")) - 1  # one is for the list
    return 0


def resident_memory() -> int:
    """Return the octets of memory that this process holds and nobody else does."""
    with contextlib.suppress(OSError):
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return 1024 * int(found[1]) if found else 0
    return 0


def _suspended(ledger: Ledger) -> dict[str, dict[str, object]]:
    """Return which plugins are not asked now, for how many seconds more, and why."""
    found = [(name, each) for name, each in ledger.statistics().items() if each.suspended_for > 0]
    return {
        name: {"seconds": round(each.suspended_for, 1), "last_fault": each.last_fault[:MAX_TEXT]}
        for name, each in found[:MAX_TEXTS]
    }


def _short(problems: Mapping[str, str]) -> dict[str, str]:
    return {name: why[:MAX_TEXT] for name, why in list(problems.items())[:MAX_TEXTS]}
