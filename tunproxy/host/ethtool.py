"""What the kernel leaves to whoever is behind a link: checksums, and cutting what is larger than its MTU."""

import contextlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Offload:
    """checksums: packets leave with checksums that are to be completed; segments: and up to 64 KB large."""

    checksums: bool
    segments: bool


def read_offload(link: str) -> Offload | None:
    """Return what is left to whoever is behind a link, None where the kernel does not say."""
    # only who looks for faults needs it, and it takes long
    from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool  # type: ignore[import-untyped]

    try:
        with contextlib.closing(IoctlEthtool(link[:15])) as ethtool:
            flags = ethtool.get_offload_flags()
    except (EthtoolError, OSError):
        return None
    return Offload(flags["tx-checksumming"], flags["tcp-segmentation-offload"])
