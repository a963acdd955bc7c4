"""Checksums and large packets: what is left to the program behind a device, and what arrived spoiled.

A program that has asked for a header in front of each packet may get checksums that are to be completed, and
packets of up to 64 KB. What it writes with a wrong checksum the kernel drops without a word, but counts: to
whoever waits for a SYN, ACK it looks as if nobody had answered.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

from tunproxy.doctor.devices import Device
from tunproxy.doctor.finding import Finding, State
from tunproxy.host.ethtool import Offload

_COUNTS: Final = (Path("/proc/net/snmp"), Path("/proc/net/netstat"), Path("/proc/net/snmp6"))
_ERRORS: Final = "InCsumErrors"


def judge_offload(device: Device, offload: Offload | None) -> Finding:
    """Say what the program behind a device has to do itself; offload is what the kernel tells, if it does."""
    subject, evidence = "offload", (f"ethtool -k {device.name}",)
    if offload is None:
        return Finding(subject, State.UNKNOWN, f"the kernel does not say what it leaves to {device.name}")
    if not device.link.has_vnet_header:
        says = f"{device.name}: none, the kernel completes checksums and cuts packets to the MTU"
        return Finding(subject, State.FINE, says, evidence)
    checksums = "completes checksums" if offload.checksums else "gets them complete"
    size = "up to 64 KB" if offload.segments else "no larger than the MTU"
    says = f"{device.name}: its program {checksums}, and takes packets {size}"
    return Finding(subject, State.FINE, says, evidence)


def judge_checksums(errors: Mapping[str, int]) -> Finding:
    """Say whether packets were dropped for their checksums; errors are counts by protocol."""
    wrong = {name: count for name, count in errors.items() if count}
    if not wrong:
        return Finding("checksums", State.FINE, "no packet has arrived with a wrong one")
    says = f"{sum(wrong.values()):,} packets have arrived with a wrong one, and were dropped"
    evidence = (
        f"{_ERRORS} in /proc/net: " + ", ".join(f"{name} {count:,}" for name, count in wrong.items()),
    )
    mend = (
        "out of a TUN device: its program must compute them, or have the kernel do so "
        "(VIRTIO_NET_HDR_F_NEEDS_CSUM); from outside: ethtool -K LINK rx off"
    )
    return Finding("checksums", State.ODD, says, evidence, mend)


def checksum_errors(files: tuple[Path, ...] = _COUNTS) -> dict[str, int]:
    """Return how many packets of each protocol have arrived spoiled in this network namespace.

    Ip is of headers. What nobody counts is left out.
    """
    found: dict[str, int] = {}
    for path in files:
        try:
            lines = [line.split() for line in path.read_text().splitlines()]
        except OSError:
            continue
        for names, counts in pairwise(lines):  # a line of names, and one of counts
            if names[:1] == counts[:1] and _ERRORS in names and len(names) == len(counts):
                place = names.index(_ERRORS)
                if counts[place].isdigit():
                    name = names[0].rstrip(":").removesuffix("Ext")
                    found[name] = found.get(name, 0) + int(counts[place])
        for words in lines:  # of IPv6: a name and a count
            if len(words) == 2 and words[0].endswith(_ERRORS) and words[1].isdigit():
                found[words[0].removesuffix(_ERRORS)] = int(words[1])
    return found
