"""Whom this host asks for names, while its own queries go through us: before we start, and when that changes.

    /etc/resolv.conf          where it names resolvers elsewhere
    systemd-resolved          over the bus: those of its links, but for ours
    NetworkManager            over the bus
    files of these two        where there is no bus, or nobody on it

A resolver on this very host is none of them: it would ask us, whom it is asked by.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from tunproxy.dns.locations import parse_location
from tunproxy.dns.system import BEHIND_STUBS, system_resolvers
from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.host.addresses import RESOLVER_IPV4, RESOLVER_IPV6, link_name
from tunproxy.host.bus import SystemBus, connect, has_bus
from tunproxy.host.network_manager import network_manager_servers
from tunproxy.host.resolved import Resolved, choose_servers

OURS: Final = (RESOLVER_IPV4, RESOLVER_IPV6)

_log: Final = logging.getLogger(__name__)


def find_resolvers_now() -> tuple[str, ...]:
    """Return the locations of this host's resolvers; none where there are none to use. Waits for the bus.

    For where no loop runs yet; in a thread, so that it may be called where one does.
    """
    direct = _named_directly()
    if direct or not has_bus():
        return direct or _behind_stubs()
    found: list[tuple[str, ...]] = []

    async def ask() -> None:
        bus = await connect()
        try:
            found.append(await find_resolvers(bus))
        finally:
            bus.close()

    def run() -> None:
        try:
            asyncio.run(ask())
        except SystemChangeError as error:
            _log.info("%s", error)

    thread = threading.Thread(target=run, name="resolvers")
    thread.start()
    thread.join()
    return found[0] if found else _behind_stubs()


async def find_resolvers(bus: SystemBus | None, *, tun: int = 0) -> tuple[str, ...]:
    """Return the same; bus is None where there is none. tun is the index of our own link, 0 for none."""
    direct = _named_directly()
    if direct or bus is None:
        return direct or _behind_stubs()
    for ask in (_of_resolved, _of_network_manager):
        try:
            found = _usable(await ask(bus, tun))
        except SystemChangeError as error:  # whoever does not want to tell: others may
            _log.info("%s", error)
            continue
        if found:
            return found
    return _behind_stubs()


async def _of_network_manager(bus: SystemBus, tun: int) -> list[str]:
    return await network_manager_servers(bus, without=link_name(tun))


async def _of_resolved(bus: SystemBus, tun: int) -> list[str]:
    resolved = Resolved(bus)
    if not await resolved.is_there():
        return []
    links = [link for link in await resolved.links() if not set(link.servers) & set(OURS)]
    return choose_servers(links, without=tun)


def _usable(locations: Iterable[str]) -> tuple[str, ...]:
    """Return those that lead away from this host, and can be asked."""
    found = []
    for each in locations:
        try:
            address = ip_address(parse_location(each).address.partition("%")[0])
        except (ConfigError, ValueError):
            continue
        if not (address.is_loopback or address.is_unspecified) and str(address) not in OURS:
            found.append(each)
    return tuple(found)


def _named_directly() -> tuple[str, ...]:
    return tuple(system_resolvers(ours=OURS, behind_stubs=()))


def _behind_stubs() -> tuple[str, ...]:
    return tuple(system_resolvers(ours=OURS, behind_stubs=BEHIND_STUBS))
