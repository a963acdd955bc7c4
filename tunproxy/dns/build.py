"""Settings become a server, and what brings queries to it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.dns.cache import AnswerCache
from tunproxy.dns.checks import check_settings, packed_of
from tunproxy.dns.contributed import Lookups
from tunproxy.dns.datagrams import DnsDatagrams
from tunproxy.dns.fake_store import FakeStore, StoreFiles
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.hosts import HOSTS_FILE, Hosts
from tunproxy.dns.makers import build_router
from tunproxy.dns.names import NameTable
from tunproxy.dns.own import OwnQueries
from tunproxy.dns.server import DnsServer
from tunproxy.dns.settings import FAKE_IP, OFF, DnsSettings
from tunproxy.dns.streams import DnsStreamUpstream, HijackStage
from tunproxy.errors import ConfigError
from tunproxy.flow.ports import SocketMaker
from tunproxy.upstream.base import Dialer
from tunproxy.upstream.opening import Yielding

_log: Final = logging.getLogger(__name__)


class Dns:
    """All of it: server, names and fakes (None but for fake-ip), and the two ways in for queries."""

    def __init__(
        self,
        server: DnsServer,
        datagrams: DnsDatagrams,
        streams: DnsStreamUpstream,
        stage: HijackStage,
    ) -> None:
        self.server: Final = server
        self.names: Final[NameTable] = server.names
        self.fakes: Final[FakePool | None] = server.fakes
        self.datagrams: Final = datagrams
        self.streams: Final = streams
        self.stage: Final = stage

    def drain(self) -> None:
        """Hand out no fake addresses any more; what was handed out keeps its meaning until close."""
        if self.fakes is not None:
            self.fakes.drain()

    async def close(self, *, with_fakes: bool = True) -> None:
        """End everything. Without fakes, these go on standing for their names."""
        self.datagrams.close()
        await self.streams.close()
        await self.server.close()
        if with_fakes and self.fakes is not None:
            self.fakes.close()


def build_dns(
    settings: DnsSettings,
    loop: asyncio.AbstractEventLoop,
    dataplane: Yielding,
    sockets: SocketMaker,
    dialer: Dialer,
    *,
    names: NameTable | None = None,
    fakes: FakePool | None = None,
    fake_files: StoreFiles | None = None,
    wants_fake: Callable[[str], bool] | None = None,
    lookups: Lookups | None = None,
    cache: AnswerCache | None = None,
    now: Callable[[], Micros] = clock.now,
    may_lease: bool = True,
) -> Dns | None:
    """Return what settings ask for, None where they ask for nothing; raises ConfigError. Opens no socket.

    names is where what clients are told is remembered, fakes the pool of fake addresses, where there is one
    already. fake_files are those of a new pool, opened by somebody for us, and ours from now on. wants_fake
    tells which names get fake addresses, where rules are to say that. lookups are resolvers of plugins, by
    the names that settings have for them. cache is what is known already. Without may_lease, somebody else
    hands out fake addresses, and keeps them.
    """
    check_settings(settings)
    if settings.mode == OFF:
        return None
    own = OwnQueries()
    router = build_router(settings, sockets, dialer, lookups, own)
    spared = frozenset(packed_of(address) for address in settings.hijack_except)
    hosts = Hosts(settings.hosts, HOSTS_FILE if settings.hosts_file else None)
    if settings.mode == FAKE_IP and fakes is None:
        fakes = FakePool(
            now,
            _store(settings, fake_files) if may_lease else None,
            ipv4=settings.fake_ip_range,
            ipv6=settings.fake_ip_range6,
            filtered=settings.fake_ip_filter,
            may_lease=may_lease,
        )
    server = DnsServer(
        router,
        hosts=hosts,
        cache=cache
        if cache is not None
        else AnswerCache(settings.cache_size, stale_for=settings.serve_stale),
        names=names,
        fakes=fakes,
        wants_fake=wants_fake,
        now=now,
    )
    streams = DnsStreamUpstream(server)
    return Dns(
        server,
        DnsDatagrams(loop, dataplane, server, spared=spared, own=own),
        streams,
        HijackStage(streams, spared=spared),
    )


def _store(settings: DnsSettings, files: StoreFiles | None) -> FakeStore | None:
    """Return what keeps fake addresses from one run to the next; None for nothing. Raises ConfigError."""
    if settings.fake_ip_file is None:
        return None
    try:
        ranges = f"{settings.fake_ip_range} {settings.fake_ip_range6}".strip()
        return FakeStore(settings.fake_ip_file, ranges, files)
    except ConfigError as error:
        if settings.needs_fake_ip_file:
            raise
        _log.warning("%s; fake addresses do not outlive this run", error)
        return None
