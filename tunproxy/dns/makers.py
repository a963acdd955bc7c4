"""Locations become resolvers, and settings a router: the resolvers that the user named, and nobody else."""

import ssl
from collections.abc import Sequence
from typing import Final

from tunproxy.dns.capitals import CapitalsTransport
from tunproxy.dns.checks import domain_of
from tunproxy.dns.contributed import Lookups, LookupTransport
from tunproxy.dns.locations import Location, parse_location
from tunproxy.dns.over_tcp import TcpTransport
from tunproxy.dns.over_udp import UdpTransport
from tunproxy.dns.own import OwnQueries
from tunproxy.dns.resolvers import Group, NameBootstrap, Resolver, Router
from tunproxy.dns.settings import RACE, SYSTEM, DnsSettings
from tunproxy.dns.transport import Bootstrap, Endpoint, Transport
from tunproxy.errors import ConfigError
from tunproxy.flow.ports import SocketMaker
from tunproxy.upstream.base import Dialer

CONTRIBUTED: Final = "plugin"  # the scheme of what has no location
PATIENCE: Final = 5.5  # seconds, our choice: a plugin has five of them, and is to be blamed by name


def make_resolver(
    location: Location,
    sockets: SocketMaker,
    dialer: Dialer,
    *,
    context: ssl.SSLContext | None = None,
    bootstrap: Bootstrap | None = None,
    subnet: str = "",
    random_capitals: bool = True,
    own: OwnQueries | None = None,
) -> Resolver:
    """Return the resolver at location; context says whom TLS trusts, the system's authorities by default."""
    endpoint = Endpoint(location.host, location.port, location.address, bootstrap)
    tcp = TcpTransport(dialer, endpoint)
    if location.scheme == "udp":
        udp: Transport = UdpTransport(sockets, endpoint, own)
        if random_capitals:
            udp = CapitalsTransport(location.text, udp, tcp, own=own)
        return Resolver(location.text, udp, tcp, subnet=subnet)
    if location.scheme == "tcp":
        return Resolver(location.text, tcp, subnet=subnet)
    context = context or ssl.create_default_context()
    if location.scheme == "tls":
        return Resolver(location.text, TcpTransport(dialer, endpoint, context, location.host), subnet=subnet)
    from tunproxy.dns.over_https import HttpsTransport  # with all of aiohttp, which others can do without

    host = f"[{location.host}]" if ":" in location.host else location.host
    url = f"https://{host}:{location.port}{location.path}"
    return Resolver(location.text, HttpsTransport(sockets, endpoint, url, context), subnet=subnet)


def build_router(
    settings: DnsSettings,
    sockets: SocketMaker,
    dialer: Dialer,
    lookups: Lookups | None = None,
    own: OwnQueries | None = None,
) -> Router:
    """Return who is asked for which names; raises ConfigError. settings have been checked.

    lookups are resolvers that plugins contribute, by the name that settings have for them. own gets to know
    the queries that are sent in the clear.
    """
    makes = _Makes(settings, sockets, dialer, lookups or {}, own)
    default = makes.group(settings.servers)
    domains = {domain_of(name): makes.group(texts) for name, texts in settings.domains.items()}
    return Router(default, domains)


class _Makes:
    """Makes each resolver once, however often it is named."""

    def __init__(
        self,
        settings: DnsSettings,
        sockets: SocketMaker,
        dialer: Dialer,
        lookups: Lookups,
        own: OwnQueries | None,
    ) -> None:
        self._lookups: Final = lookups
        self._own: Final = own
        self._settings: Final = settings
        self._sockets: Final = sockets
        self._dialer: Final = dialer
        self._made: Final[dict[str, Resolver]] = {}
        self._context: ssl.SSLContext | None = None
        self._bootstrap: NameBootstrap | None = None

    def group(self, texts: Sequence[str]) -> Group:
        locations = self._locations(texts)
        if not locations:
            raise ConfigError('[dns] servers: no resolver to ask (name one, such as "udp://192.0.2.53")')
        return Group([self._resolver(each) for each in locations], race=self._settings.strategy == RACE)

    def _locations(self, texts: Sequence[str]) -> list[Location]:
        found: list[Location] = []
        for text in texts:
            if text in self._lookups:
                found.append(Location(text, CONTRIBUTED, text, 0, text))
            elif text == SYSTEM:
                found += [parse_location(address) for address in self._settings.system]
            else:
                found.append(parse_location(text))
        return list(dict.fromkeys(found))

    def _resolver(self, location: Location) -> Resolver:
        made = self._made.get(location.text)
        if made is None and location.scheme == CONTRIBUTED:
            made = Resolver(location.text, LookupTransport(self._lookups[location.text]), attempt=PATIENCE)
            self._made[location.text] = made
        if made is None:
            bootstrap = self._bootstrap_for(location) if location.needs_bootstrap else None
            made = make_resolver(
                location,
                self._sockets,
                self._dialer,
                context=self._tls() if location.scheme in ("tls", "https") else None,
                bootstrap=bootstrap,
                subnet=self._settings.client_subnet,
                random_capitals=self._settings.random_capitals,
                own=self._own,
            )
            self._made[location.text] = made
        return made

    def _bootstrap_for(self, location: Location) -> NameBootstrap:
        """Return who finds the address of a resolver that has only a name: never somebody nobody named."""
        if self._bootstrap is None:
            texts = self._settings.bootstrap or self._settings.servers
            known = [each for each in self._locations(texts) if not each.needs_bootstrap]
            if not known:
                raise ConfigError(
                    f"resolver {location.text!r}: nobody to ask for its address "
                    f"(write {location.scheme}://{location.host}@ADDRESS, or name a resolver as bootstrap)"
                )
            self._bootstrap = NameBootstrap(Group([self._resolver(each) for each in known]))
        return self._bootstrap

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            path = self._settings.ca_file
            try:
                self._context = ssl.create_default_context(cafile=str(path) if path is not None else None)
            except OSError as error:  # an SSLError is one
                raise ConfigError(f"[dns] ca-file {path}: {error.strerror or error}") from error
        return self._context
