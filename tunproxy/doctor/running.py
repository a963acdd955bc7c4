"""What a tunproxy that runs says of itself."""

from collections.abc import Mapping
from typing import Any, Final  # Any as the status document's JSON has it

from tunproxy.doctor.finding import Finding, State

# Reasons of dropped packets that point to what can be mended, and how (docs/operations.md has all).
_TELLING: Final = {
    "bad-checksum": "ethtool -K LINK rx off, where a virtual network card says it sums and does not",
    "table-full": "raise the limit of open files",
    "memory-full": "raise --memory",
    "device-write": "see whether the device is up, and its MTU",
    "echo-forbidden": "sysctl net.ipv4.ping_group_range='0 2147483647'",
    "bad-seal": "see the log: password, method, or a clock that is wrong",
}


def judge_running(document: Mapping[str, Any]) -> list[Finding]:
    """Return what a status document tells that somebody should look at, and that it runs."""
    subject = f"tunproxy {document['name']}"
    found = [Finding(subject, State.ODD, str(each)) for each in document["problems"]]
    for reason, count in document["drops"].items():
        if count and reason in _TELLING:
            says = f"{count:,} packets dropped as {reason}"
            found.append(Finding(subject, State.ODD, says, (), _TELLING[reason]))
    for worker in document["workers"]:
        limit, used = worker.get("descriptor_limit", 0), worker.get("descriptors", 0)
        if limit and used > 0.9 * limit:
            says = f"worker {worker['pid']} has {used:,} of {limit:,} descriptors in use"
            found.append(Finding(subject, State.ODD, says, (), "raise the limit of open files"))
    if not found:
        flows = document["flows"]
        says = f"it runs, {flows['tcp']:,} TCP connections and {flows['udp']:,} UDP ports are open"
        found.append(Finding(subject, State.FINE, says))
    return found
