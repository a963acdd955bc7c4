"""The resolvers that the host had before we took over.

Read once, before: afterwards resolv.conf may name us. Nor is a resolver of use that runs on this very host
where the host's own queries go through the device, such as systemd-resolved's stub, 127.0.0.53: it would ask
us, whom it is asked by. Whom such a stub asks in turn stands in files of systemd-resolved and NetworkManager.
"""

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tunproxy.dns.transport import is_address

RESOLV_CONF: Final = Path("/etc/resolv.conf")
BEHIND_STUBS: Final = (
    Path("/run/systemd/resolve/resolv.conf"),
    Path("/run/NetworkManager/no-stub-resolv.conf"),
    Path("/run/NetworkManager/resolv.conf"),
)


def system_resolvers(
    *,
    ours: Iterable[str] = (),
    may_use_loopback: bool = False,
    resolv_conf: Path = RESOLV_CONF,
    behind_stubs: Iterable[Path] = BEHIND_STUBS,
) -> list[str]:
    """Return the addresses of the host's resolvers in order, without ours; none where there are none to use.

    may_use_loopback is for when the host's own traffic does not go through the device.
    """
    avoided = {str(ipaddress.ip_address(address)) for address in ours}
    for path in (resolv_conf, *behind_stubs):
        named = [address for address in _nameservers(path) if address not in avoided]
        found = [address for address in named if may_use_loopback or not _is_of_this_host(address)]
        if found:
            return found
    return []


def _nameservers(path: Path) -> list[str]:
    """Return the nameservers that a resolv.conf(5) names, each once; none where it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    named = [each[1] for each in words if len(each) > 1 and each[0] == "nameserver" and is_address(each[1])]
    return list(dict.fromkeys(str(ipaddress.ip_address(address)) for address in named))


def _is_of_this_host(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return found.is_loopback or found.is_unspecified
