"""What of names outlives a policy: the way in for queries, and who was told what.

    port 53 over UDP ─▶ LiveNames ─▶ the servers of the current policy
    port 53 over TCP ─▶ the decider's first stage, which is the policy's own
                            └─▶ NameTable, one for all: what clients were told stays known

A policy whose settings are those of the one before keeps its servers, with all that these have in their
cache. Fake addresses keep their meaning as long as the worker lives; so their ranges and file do, too.
"""

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final
from weakref import WeakSet

from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.letters import About
from tunproxy.control.naming import dns_settings
from tunproxy.dns.build import Dns, build_dns
from tunproxy.dns.cache import AnswerCache
from tunproxy.dns.contributed import Lookups
from tunproxy.dns.fake_store import StoreFiles
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.names import NameTable
from tunproxy.dns.settings import FAKE_IP, OFF, DnsSettings
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import DatagramReply, DatagramService, SocketMaker
from tunproxy.upstream.base import Dialer
from tunproxy.upstream.opening import Yielding

DNS_PORT: Final = 53

# our choice: longer than a query takes, and than a stream of them may be idle
RETIRES_AFTER: Final = 60.0  # seconds

_log: Final = logging.getLogger(__name__)


class LiveNames(DatagramService):
    """The names of one worker; answers queries that come as datagrams. All but ``build`` is for the loop.

    system are the host's resolvers, as they were before us.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dataplane: Yielding,
        sockets: SocketMaker,
        dialer: Dialer,
        system: Sequence[str] = (),
        *,
        may_lease: bool = True,
    ) -> None:
        super().__init__(DNS_PORT)
        self.table: Final = NameTable()
        self.new_pool: Callable[[FakePool], None] | None = None  # told when there are fake addresses
        self._may_lease: Final = may_lease
        self._loop: Final = loop
        self._dataplane: Final = dataplane
        self._sockets: Final = sockets
        self._dialer: Final = dialer
        self._system = tuple(system)
        self._current: Dns | None = None
        self._settings: DnsSettings | None = None  # what current was built from
        self._pool: FakePool | None = None  # the one and only, once there are fake addresses
        self._fake_files: StoreFiles | None = None  # of the next policy, which may need them
        self._wants_fake: Callable[[str], bool] | None = None
        self._built: Final[dict[int, DnsSettings]] = {}  # by the identity of what is not adopted yet
        self._contributed: Final[WeakSet[Dns]] = WeakSet()  # those that ask plugins
        self._retiring: Final[dict[Dns, asyncio.TimerHandle]] = {}
        self._closing: Final[set[asyncio.Task[None]]] = set()
        self.lives: Sequence[
            Callable[[], list[FlowLife]]
        ] = ()  # what lists open flows, once there are tables

    @property
    def current(self) -> Dns | None:
        """What answers now; None where port 53 is left alone."""
        return self._current

    # for policies

    def take_fake_files(self, fd: int, lock_fd: int) -> dict[str, object]:
        """Keep the file of fake addresses, and its lock, for the next policy: we may not be able to open it.

        They are ours from now on.
        """
        self._drop_fake_files()
        self._fake_files = StoreFiles(fd, lock_fd)
        return {}

    def build(self, config: DnsConfig, lookups: Lookups | None = None) -> Dns | None:
        """Return what answers by these settings, None where nobody does; in any thread. Raises ConfigError.

        lookups are resolvers of plugins; servers that ask one of them are made anew for each policy, as
        plugins are asked anew. None is also where no resolver is named and the host has none: names are then
        nobody's business.
        """
        settings = dns_settings(config, self._system)
        if settings.mode == OFF:
            return None
        if not config.servers and not self._system:
            _log.warning("no resolver is named, and the host has none to use: port 53 is left alone")
            return None
        named = {*settings.servers, *settings.bootstrap, *itertools.chain(*settings.domains.values())}
        used = {name: lookup for name, lookup in (lookups or {}).items() if name in named}
        is_same = settings == self._settings and not used and self._current not in self._contributed
        if is_same and self._current is not None:
            return self._current
        files: StoreFiles | None = None
        if settings.mode == FAKE_IP and settings.fake_ip_file is not None and self._pool is None:
            files, self._fake_files = self._fake_files, None
        dns = build_dns(
            settings,
            self._loop,
            self._dataplane,
            self._sockets,
            self._dialer,
            names=self.table,
            fakes=self._pool if settings.mode == FAKE_IP else None,
            fake_files=files,
            lookups=used,
            wants_fake=self._gets_fake if settings.mode == FAKE_IP else None,
            may_lease=self._may_lease,
            cache=self._cache_for(settings),
        )
        if dns is not None and used:
            self._contributed.add(dns)
        if dns is not None:
            self._built[id(dns)] = settings
        return dns

    def adopt(self, dns: Dns | None, wants_fake: Callable[[str], bool] | None = None) -> None:
        """Have dns, of the policy in force from now on, answer; the old one ends what it has begun.

        wants_fake tells which names get fake addresses, as far as the filter lets them; None: all.
        """
        old = self._current
        if dns is not None and (wants_fake is not None or self._wants_fake is not None):
            dns.server.forget()  # what is in its cache would be answered whatever is wanted now
        self._wants_fake = wants_fake
        self._drop_fake_files()
        if dns is old:
            return
        self._current = dns
        self._settings = self._built.pop(id(dns), None) if dns is not None else None
        self._built.clear()
        if dns is not None and dns.fakes is not None:
            is_new = dns.fakes is not self._pool
            self.table.fakes = self._pool = dns.fakes
            if is_new and self.new_pool is not None:
                self.new_pool(dns.fakes)
            if self._settings is not None:
                dns.fakes.serve(self._settings.fake_ip_filter)
        elif self._pool is not None:
            self._pool.drain()
        if old is not None:
            self._retiring[old] = self._loop.call_later(RETIRES_AFTER, self._retire, old)

    def drop(self, dns: Dns | None) -> None:
        """Let go of what was built, and will not be adopted."""
        if dns is None or dns is self._current:
            return
        self._built.pop(id(dns), None)
        if dns.fakes is not None and dns.fakes is not self._pool:
            dns.fakes.close()

    def renew(self) -> None:
        """Ask resolvers over new connections: the network is another one, and the old ones may be dead."""
        if self._current is not None:
            task = self._loop.create_task(self._current.server.renew(), name="renew names")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _cache_for(self, settings: DnsSettings) -> AnswerCache | None:
        """Return what is known, where only the host's own resolvers are others than before."""
        current, before = self._current, self._settings
        if current is None or before is None or dataclasses.replace(settings, system=before.system) != before:
            return None
        return current.server.cache

    @property
    def pool(self) -> FakePool | None:
        """The fake addresses; None where there have never been any."""
        return self._pool

    async def resolve(self, host: str) -> list[str]:
        """Return the real addresses of host, as our resolvers or else the system's know them.

        Raises OSError or ResolveError.
        """
        if self._current is not None:
            return [str(ip_address(packed)) for packed in await self._current.server.addresses(host)]
        found = await self._loop.getaddrinfo(host, None)
        return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))

    def state(self) -> dict[str, object]:
        """Return whether we answer port 53, and what leads to fake addresses, for the supervisor.

        fake_flows are open to one; fake_seconds ago somebody was told one, None for nobody in this run.
        """
        pool = self._pool
        has = pool.has if pool is not None else None
        flows = (
            sum(has(life.info.target) for lives in self.lives for life in lives()) if has is not None else 0
        )
        ago = int(pool.told_ago) if pool is not None else -1
        return {
            "is_answering": self._current is not None,
            "has_fakes": pool is not None and len(pool) > 0,
            "fake_flows": flows,
            "fake_seconds": round(ago / 1e6, 3) if ago >= 0 else None,
        }

    def drain(self) -> dict[str, object]:
        """Tell nobody a fake address any more, as we are about to end; those that are out keep their meaning.

        Returns what ``state`` does.
        """
        if self._pool is not None:
            self._pool.drain()
        return self.state()

    def take_resolvers(self, about: About) -> dict[str, object]:
        """Have the next policy ask other resolvers as the host's own: the network is another one now."""
        told = about.get("resolvers")
        if isinstance(told, list) and told and all(isinstance(each, str) for each in told):
            self._system = tuple(told)
        return {"resolvers": list(self._system)}

    def statistics(self) -> dict[str, object]:
        """Return what was answered how; nothing where nobody answers."""
        return self._current.server.statistics() if self._current is not None else {}

    async def close(self) -> None:
        """End everything."""
        self._drop_fake_files()
        for handle in self._retiring.values():
            handle.cancel()
        ending = [*self._retiring, *([self._current] if self._current is not None else [])]
        self._retiring.clear()
        self._current = None
        for dns in ending:
            await dns.close(with_fakes=False)
        if self._pool is not None:
            self._pool.close()

    # as a service of the packet path

    def takes(self, target: bytes, target_port: int) -> bool:
        current = self._current
        return current is not None and current.datagrams.takes(target, target_port)

    def on_datagram(
        self,
        client: bytes,
        client_port: int,
        target: bytes,
        target_port: int,
        payload: bytes,
        reply: DatagramReply,
    ) -> None:
        if self._current is not None:
            self._current.datagrams.on_datagram(client, client_port, target, target_port, payload, reply)

    def _drop_fake_files(self) -> None:
        if self._fake_files is not None:
            self._fake_files.close()
            self._fake_files = None

    def _gets_fake(self, host: str) -> bool:
        if self._pool is None or not self._pool.wants(host):
            return False
        return self._wants_fake is None or self._wants_fake(host)

    def _retire(self, dns: Dns) -> None:
        self._retiring.pop(dns)
        task = self._loop.create_task(dns.close(with_fakes=False), name="retire names")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
