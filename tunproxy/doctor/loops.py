"""Whether what a program sends itself would come back into its own device, and so on without end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final  # Any as the status document's JSON has it

from tunproxy.doctor.devices import PROC, Device, Holder, is_near
from tunproxy.doctor.finding import Finding, State
from tunproxy.doctor.ways import describe_way
from tunproxy.host.netlink import Netlink
from tunproxy.host.surroundings import FAR_IPV4, FAR_IPV6

SUBJECT: Final = "loops"
_FAMILIES: Final = (("IPv4", FAR_IPV4), ("IPv6", FAR_IPV6))


def judge_loops(net: Netlink, device: Device, proc: Path = PROC) -> list[Finding]:
    """Say of each program behind a device where its own packets to the world go; nothing where none is seen.

    Who is in another network namespace has other ways, and is left out. Raises SystemChangeError.
    """
    found = []
    for holder in device.holders:
        uid = _user(proc / str(holder.pid))
        if uid is not None and is_near(proc / str(holder.pid), proc):
            found.append(_judge(net, device.name, holder, uid))
    return found


def _judge(net: Netlink, link: str, holder: Holder, uid: int) -> Finding:
    who = f"{holder.name} ({holder.pid})"
    ways = {family: net.way_to(target, uid=uid) for family, target in _FAMILIES}
    evidence = tuple(
        f"ip route get {target} uid {uid}: {describe_way(ways[family])}" for family, target in _FAMILIES
    )
    back = [family for family, way in ways.items() if way is not None and way.link == link]
    if not back:
        return Finding(
            SUBJECT, State.FINE, f"what {who} sends itself does not come back into {link}", evidence
        )
    says = (
        f"what {who} sends itself over {' and '.join(back)} comes back into {link}, "
        "unless it marks its sockets or binds them to a link"
    )
    mend = f"run it as a user of its own, and: ip rule add uidrange {uid}-{uid} lookup main pref 99"
    return Finding(SUBJECT, State.ODD, says, evidence, mend)


def judge_own_loops(document: Mapping[str, Any]) -> list[Finding]:
    """Say what a tunproxy that runs has noticed, by its status document; nothing where that tells none."""
    loops = document.get("loops")
    if not isinstance(loops, Mapping):
        return []
    cut = int(loops.get("cut", 0))
    if not loops.get("last"):
        says = "no flow of an upstream on this host comes back"
        return [Finding(SUBJECT, State.FINE, says, (f"{cut:,} flows cut since its start",))]
    says = f"flows of an upstream on this host came back to us of late, and were cut: {cut:,}"
    mend = "leave its user alone: [capture] exclude-users, or --exclude-user"
    return [Finding(SUBJECT, State.ODD, says, tuple(map(str, loops["last"])), mend)]


def _user(process: Path) -> int | None:
    """Return the user whose packets a process sends, None where it must not be seen, or has ended."""
    try:
        for line in (process / "status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[2])  # the effective one
    except (OSError, ValueError, IndexError):
        pass
    return None
