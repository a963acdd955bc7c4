"""systemd-resolved, by its interface on the system bus (org.freedesktop.resolve1(5)).

What is set belongs to one link and is gone with it: when the process that holds our device dies, by whatever
signal, the kernel removes the link, and resolved what it knew about it. Neither a file is touched, nor what
resolved knows of other links.
"""

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final  # Any as D-Bus has it

from tunproxy.host.addresses import link_name
from tunproxy.host.bus import BusError, SystemBus

NAME: Final = "org.freedesktop.resolve1"
_PATH: Final = "/org/freedesktop/resolve1"
_MANAGER: Final = "org.freedesktop.resolve1.Manager"
_LINK: Final = "org.freedesktop.resolve1.Link"

EVERYTHING: Final = "."  # the domain that all names are in
DNS_PORT: Final = 53
_SERVERS: Final = frozenset(("DNS", "DNSEx"))  # properties that it tells a change of
_OLDER: Final = ("UnknownMethod", "UnknownProperty", "NotSupported")


@dataclass(frozen=True)
class ResolvedLink:
    """What resolved knows of a link. servers are locations: ``192.0.2.53``, ``tls://dns.example@192.0.2.53``.

    domains are those that go to its servers; is_default: so do names that no link's domains cover.
    """

    index: int
    name: str
    servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    is_default: bool = False

    @property
    def takes_all(self) -> bool:
        """Whether every name goes to its servers that is in no other link's domain."""
        return EVERYTHING in self.domains and bool(self.servers)


@dataclass(frozen=True)
class Resolved:
    """resolved, as somebody on bus; ask ``is_there`` first. All raise BusError."""

    bus: SystemBus

    async def is_there(self) -> bool:
        """Tell whether it runs, and for this network namespace."""
        return await self.bus.is_here(NAME)

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Have on_change called when it starts, ends, or gets other servers on any link."""
        await self.bus.watch(NAME, lambda _: on_change())
        await self.bus.watch_properties(NAME, _PATH, _SERVERS, on_change)

    async def take(self, index: int, server: str) -> None:
        """Have all names asked of server, an address behind link index, but for those that other links claim.

        Nothing on that link is encrypted or checked for signatures: whoever answers there does so. Answers
        of before are forgotten.
        """
        address = ip_address(server)
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        await self._do("SetLinkDNS", "ia(iay)", index, [[int(family), address.packed]])
        await self._do("SetLinkDomains", "ia(sb)", index, [[EVERYTHING, True]])
        for method, signature, value in (
            ("SetLinkDefaultRoute", "ib", True),  # without it older ones ask the uplink, too
            ("SetLinkDNSOverTLS", "is", "no"),
            ("SetLinkDNSSEC", "is", "no"),
            ("SetLinkLLMNR", "is", "no"),  # groups are not carried
            ("SetLinkMulticastDNS", "is", "no"),
        ):
            try:
                await self._do(method, signature, index, value)
            except BusError as error:
                if error.name not in _OLDER:
                    raise
        await self.flush()

    async def has_taken(self, index: int, server: str) -> bool:
        """Tell whether what ``take`` set is still so."""
        link = await self._link(index)
        return link is not None and link.servers == (server,) and EVERYTHING in link.domains

    async def release(self, index: int) -> None:
        """Undo ``take``, and forget all answers; a link that is gone has no settings."""
        try:
            await self._do("RevertLink", "i", index)
        except BusError as error:
            if error.name != "NoSuchLink":
                raise
        await self.flush()

    async def flush(self) -> None:
        """Have all answers forgotten."""
        await self._do("FlushCaches", "")

    async def links(self) -> list[ResolvedLink]:
        """Return the links that it asks anybody on, and a link 0 for what is set for the whole host."""
        manager = await self.bus.properties(NAME, _PATH, _MANAGER)
        known = _servers(manager, is_global=True)  # of all links; 0: of none
        whole = _locations([each for each in known if each[0] == 0], manager)
        domains = _domains(each[1:] for each in manager.get("Domains", ()) if each[0] == 0)
        found = [ResolvedLink(0, "", whole, domains, is_default=True)] if whole else []
        for index in sorted({each[0] for each in known} - {0}):
            link = await self._link(index)
            if link is not None and link.servers:
                found.append(link)
        return found

    async def _link(self, index: int) -> ResolvedLink | None:
        """Return what is known of a link, None where there is none."""
        try:
            [path] = await self.bus.call(NAME, _PATH, _MANAGER, "GetLink", "i", index)
            properties = await self.bus.properties(NAME, path, _LINK)
        except BusError as error:
            if error.name in ("NoSuchLink", "UnknownObject"):
                return None
            raise
        domains = _domains(properties.get("Domains", ()))
        servers = [(index, *each[1:]) for each in _servers(properties, is_global=False)]
        is_default = bool(properties.get("DefaultRoute", not domains))
        return ResolvedLink(index, link_name(index), _locations(servers, properties), domains, is_default)

    async def _do(self, method: str, signature: str, *arguments: object) -> None:
        await self.bus.call(NAME, _PATH, _MANAGER, method, signature, *arguments)


def choose_servers(links: list[ResolvedLink], *, without: int = 0) -> list[str]:
    """Return the locations of those whom resolved asks about names that nobody claims, each once, in order.

    without is a link that does not count: our own. Where a link takes all names, it alone does; else those
    that serve as a default, before what is set for the whole host.
    """
    others = [link for link in links if link.index != without or not without]
    for chosen in (
        [link for link in others if link.takes_all],
        sorted((link for link in others if link.is_default), key=lambda link: link.index == 0),
        others,
    ):
        found = [server for link in chosen for server in link.servers]
        if found:
            return list(dict.fromkeys(found))
    return []


def _domains(named: Iterable[Sequence[Any]]) -> tuple[str, ...]:
    """Return domains as people write them, without a dot at the end."""
    return tuple(str(name).lower().rstrip(".") or EVERYTHING for name, *_ in named)


def _servers(properties: dict[str, Any], *, is_global: bool) -> list[tuple[int, int, bytes, int, str]]:
    """Return (link, family, address, port, name) of each server; older ones know neither port nor name."""
    newer, older = properties.get("DNSEx"), properties.get("DNS", ())
    if newer is not None:
        found = [each if is_global else (0, *each) for each in newer]
    else:
        found = [(*(each if is_global else (0, *each)), 0, "") for each in older]
    return [(int(a), int(b), bytes(c), int(d), str(e)) for a, b, c, d, e in found]


def _locations(
    servers: list[tuple[int, int, bytes, int, str]], properties: dict[str, Any]
) -> tuple[str, ...]:
    """Return servers as [dns] has them: over TLS where resolved has to, as we would ask in the clear else."""
    is_strict = properties.get("DNSOverTLS") == "yes"
    found = []
    for index, family, packed, port, name in servers:
        with contextlib.suppress(ValueError):
            address = ip_address(packed)
            text = str(address)
            if family == socket.AF_INET6 and address.is_link_local:
                text = f"{text}%{link_name(index)}"
            literal = f"[{text}]" if ":" in text else text
            if is_strict:
                found.append(f"tls://{f'{name}@' if name else ''}{literal}{f':{port}' if port else ''}")
            else:
                found.append(f"udp://{literal}:{port}" if port not in (0, DNS_PORT) else text)
    return tuple(found)
