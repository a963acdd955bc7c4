"""Whom NetworkManager has the host ask for names, by its interface on the system bus; nothing is changed.

Of use where /etc/resolv.conf names a program on this host that NetworkManager has put there, such as dnsmasq.
"""

import contextlib
from ipaddress import ip_address
from typing import Any, Final  # Any as D-Bus has it

from tunproxy.host.bus import SystemBus

NAME: Final = "org.freedesktop.NetworkManager"
_PATH: Final = "/org/freedesktop/NetworkManager/DnsManager"
_INTERFACE: Final = "org.freedesktop.NetworkManager.DnsManager"


async def network_manager_servers(bus: SystemBus, *, without: str = "") -> list[str]:
    """Return the addresses in NetworkManager's order, each once, but for those of one interface: our own.

    None where it does not run for this network namespace. Those of interfaces that take only some domains
    come last. Raises BusError.
    """
    if not await bus.is_here(NAME):
        return []
    configuration = (await bus.properties(NAME, _PATH, _INTERFACE)).get("Configuration", [])
    entries = [each for each in configuration if isinstance(each, dict) and _is_of_use(each, without)]
    entries.sort(
        key=lambda each: bool(each.get("domains")) and not _takes_all(each)
    )  # the others as they are
    found: list[str] = []
    for entry in entries:
        interface = str(entry.get("interface", ""))
        for written in entry.get("nameservers", []):
            with contextlib.suppress(ValueError):
                address = ip_address(str(written))
                scope = f"%{interface}" if address.version == 6 and address.is_link_local else ""
                found.append(f"{address}{scope}")
    return list(dict.fromkeys(found))


def _is_of_use(entry: dict[str, Any], without: str) -> bool:
    return not without or entry.get("interface") != without


def _takes_all(entry: dict[str, Any]) -> bool:
    return any(str(domain) in ("~", "~.", "") for domain in entry.get("domains", []))
