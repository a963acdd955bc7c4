"""All that ``tunproxy doctor`` looks at, in the order in which a packet meets it."""

import os
from collections.abc import Mapping

from tunproxy.control import endpoint
from tunproxy.control.client import choose as choose_running
from tunproxy.control.client import fetch_status
from tunproxy.control.rescue import holds_alone
from tunproxy.doctor import answers, devices, limits, loops, offloads, running, ways
from tunproxy.doctor.finding import Finding, State
from tunproxy.errors import ConfigError, TunproxyError
from tunproxy.host.ethtool import read_offload
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE


def examine(tun: str = "", probe: str = "", uid: int | None = None) -> list[Finding]:
    """Return the findings about a device, or all there are.

    uid is whose packets are meant, the asking user's unless given. probe is ADDRESS:PORT to connect to.
    Raises ConfigError for what is asked wrongly, SystemChangeError where the kernel does not answer.
    """
    target = answers.parse_probe(probe) if probe else None
    whose = asking_user() if uid is None else uid
    there = devices.read_devices()
    chosen = devices.choose(there, tun)
    if tun and not chosen:
        known = ", ".join(device.name for device in there) or "none"
        raise ConfigError(f"no TUN device is called {tun!r} (there are: {known})")
    ours = {each.name for each in endpoint.find()}
    found = [*_kill_switch(), devices.judge_node()]
    for device in chosen:
        found += devices.judge_device(device, is_ours=device.name in ours)
        found.append(offloads.judge_offload(device, read_offload(device.name)))
        dropped = ways.source_check_drops()
        checked = ways.judge_source_check(device.name, dropped)
        found.append(checked or ways.describe_source_check(device.name, dropped))
    if not chosen:
        found.append(Finding("device", State.ODD, "there is no TUN device here", (), "tunproxy up makes one"))
    names = [device.name for device in chosen]
    with Netlink() as net:
        others = {device.name: devices.held_by(device) for device in there if device not in chosen}
        found += ways.judge_ways(net, names, whose, others)
        found += limits.judge_names(net, names, whose)
        for device in chosen:
            if device.name not in ours:  # which marks its sockets, and tells of itself
                found += loops.judge_loops(net, device)
    if target is not None:
        found.append(answers.probe(*target))
    return [
        *found,
        offloads.judge_checksums(offloads.checksum_errors()),
        limits.judge_descriptors(),
        limits.judge_clock(limits.is_clock_synchronized()),
        *_running(tun),
    ]


def asking_user(environment: Mapping[str, str] = os.environ) -> int:
    """Return who asks: the user behind sudo, or ours."""
    told = environment.get("SUDO_UID", "")
    return int(told) if os.geteuid() == 0 and told.isascii() and told.isdigit() else os.geteuid()


def _kill_switch() -> list[Finding]:
    """Return that the kill switch of one that was killed holds, where it does: all else follows from it."""
    if not holds_alone():
        return []
    says = "it holds, and no tunproxy runs: nothing leaves this host"
    evidence = f"ip route show table {TABLE}: unreachable"
    return [Finding("kill switch", State.BROKEN, says, (evidence,), "sudo tunproxy rescue; or tunproxy up")]


def _running(tun: str) -> list[Finding]:
    """Return what the tunproxy that runs says; that none does is no fault."""
    try:
        document = fetch_status(choose_running(tun).path)
        return [*loops.judge_own_loops(document), *running.judge_running(document)]
    except TunproxyError as error:
        return [Finding("tunproxy", State.UNKNOWN, str(error))]
