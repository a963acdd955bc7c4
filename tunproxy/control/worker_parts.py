"""What a worker is made of: the parts around one device, and which of them knows which.

Nothing here runs or decides: parts are made in the order in which they need each other, told of each other,
and ended in the order in which they may be missed.
"""

import asyncio
import socket
from collections.abc import Collection
from typing import Final

from tunproxy.control.flow_news import FlowNews
from tunproxy.control.helm.answers import Helm
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import answering
from tunproxy.control.live_names import LiveNames
from tunproxy.control.loop_guard import LoopGuard
from tunproxy.control.neighbours import Neighbourhood, Outboxes
from tunproxy.control.owners import AskedOwners
from tunproxy.control.packets.captures import Captures, described, whose
from tunproxy.control.policy import Policy, Surroundings, built_in_sources
from tunproxy.control.questions import Answers, FdAnswers
from tunproxy.control.snapshot import Snapshot
from tunproxy.control.tables import build_tables
from tunproxy.control.uplink import Uplink
from tunproxy.control.worker_settings import WorkerSettings, targets_of
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.decide.settling import Settler
from tunproxy.flow.counters import Counters
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.host.owners import SocketOwners
from tunproxy.loop.dataplane import Dataplane
from tunproxy.loop.sharing import Sharing
from tunproxy.upstream.deferred import Deferrer
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.health import Health
from tunproxy.upstream.opening import AsyncOpener
from tunproxy.upstream.sockets import KernelSockets


class WorkerParts:
    """All parts of one worker. The loop must not run while they are made or closed."""

    def __init__(
        self,
        settings: WorkerSettings,
        loop: asyncio.AbstractEventLoop,
        dataplane: Dataplane,
        counters: Counters,
    ) -> None:
        """Raises ConfigError where the policy cannot be built."""
        self._loop: Final = loop
        self._dataplane: Final = dataplane
        self._counters: Final = counters
        sockets = KernelSockets(settings.mark, settings.bind_interface)
        self._dialer: Final = AsyncDialer(loop, sockets)
        self._health = health = Health()
        self._opener: Final = AsyncOpener(loop, dataplane, sockets, on_suspect=health.on_suspect)
        self._names = names = LiveNames(
            loop, dataplane, sockets, self._dialer, settings.resolvers, may_lease=settings.number == 0
        )
        self._owners = owners = _owners(settings, loop)
        targets = targets_of(settings.address_maps)
        around = Surroundings(
            health=health,
            targets=targets,
            names=names.table,
            processes=owners,
            waiters=Deferrer(Settler(names.resolve), targets),
            faults=self._opener.faults,
            dns=names.build,
            may_sniff=True,
        )
        sources = settings.sources or built_in_sources()
        self._keeper = keeper = PolicyKeeper(sources, around, settings.generation)
        self._news = news = FlowNews(loop, dataplane)
        news.watcher.count_as(settings.number, settings.workers, settings.restarts)
        self._tcp, self._datagrams = tcp, datagrams = build_tables(
            settings, dataplane, sockets, self._opener, counters,
            decider=keeper.decider, service=names, targets=targets, watcher=news.watcher,
        )  # fmt: skip
        dataplane.attach(tcp, datagrams, Reassembler(counters))
        self._neighbourhood: Final = _neighbourhood(settings, loop, dataplane, names, tcp)
        names.lives = (tcp.lives, datagrams.lives)
        self._helm: Final = Helm(
            loop, keeper, health, counters, tcp, datagrams, news.watcher, names, owners, settings.wishes
        )
        self._captures: Final = Captures(
            dataplane, tcp, datagrams, news.watcher, owners,
            described(settings, lambda: keeper.policy.summary()), whose(settings),
        )  # fmt: skip
        self._uplink: Final = Uplink((tcp, datagrams), (health.renew, names.renew), self._refuse)
        self._guard: Final = self._guarded(settings)
        keeper.adopted = self._adopt
        keeper.dropped = lambda policy: names.drop(policy.dns)
        self._adopt(keeper.policy)

    def start(self) -> None:
        """Begin what needs to be done without anybody asking."""
        self._health.start(self._loop, self._dialer, self._dataplane)

    def answers(self) -> tuple[Answers, FdAnswers]:
        """Return what answers the supervisor, by its question; those of the second take a descriptor."""
        keeper, names, helm, neighbours = self._keeper, self._names, self._helm, self._neighbourhood
        status = Snapshot(self._counters, self._tcp, self._datagrams, self._opener, keeper, names)
        plain: Answers = {
            "status": status if self._guard is None else self._guard.added_to(status),
            "policy": keeper.state,
            "names": names.state,
            "drain": names.drain,
            "commit": keeper.commit,
            "abandon": keeper.abandon,
        }
        with_fd: FdAnswers = {
            "reload": lambda fd: keeper.reload(fd, self._loop),
            "prepare": lambda fd: keeper.prepare(fd, self._loop),
            "fake-file": names.take_fake_files,
            "resolvers": answering(names.take_resolvers),
            "uplink": answering(self._uplink.take),
            "capture": self._captures.begin,
            **self._news.answers(self._tcp, self._datagrams, keeper, names, helm.stage, helm.owners),
            **helm.answers(),
            "history": answering(helm.history.take),
            **({"retell": answering(neighbours.retell)} if neighbours is not None else {}),
        }
        return plain, with_fd

    def close(self) -> None:
        """End everything; all flows are reset, and who watches them is told so."""
        self._helm.close()
        if self._guard is not None:
            self._guard.close()
        if self._neighbourhood is not None:
            self._neighbourhood.close()
        self._health.stop()
        self._opener.close()
        self._loop.run_until_complete(self._news.close(self._tcp, self._datagrams))
        self._captures.close()
        self._loop.run_until_complete(self._names.close())
        if self._owners is not None:
            self._owners.close()

    def _adopt(self, policy: Policy) -> None:
        """Tell everybody who goes by a policy that there is another one."""
        self._health.adopt(policy.parts.watches, policy.parts.explored())
        self._names.adopt(policy.dns, policy.wants_fake)
        self._forget_constants()
        self._news.adopt(policy)
        self._helm.adopt(policy)

    def _refuse(self, versions: Collection[int]) -> None:
        if self._keeper.decider.refuse(versions):
            self._forget_constants()

    def _forget_constants(self) -> None:
        self._tcp.on_new_policy()
        self._datagrams.on_new_policy()

    def _guarded(self, settings: WorkerSettings) -> LoopGuard | None:
        """Guard the tables where the clients are of our own network namespace: only those can be proxies."""
        if settings.owners is None or self._owners is None:
            return None
        guard = LoopGuard(
            self._loop, self._dataplane, self._tcp, self._owners, self._uplink.is_here,
            datagrams=self._datagrams, serves_others=settings.serves_others,
            is_way_out=self._uplink.is_way_out,
        )  # fmt: skip
        self._tcp.guard = guard
        self._datagrams.guard_by(guard)
        return guard


def _neighbourhood(
    settings: WorkerSettings,
    loop: asyncio.AbstractEventLoop,
    dataplane: Dataplane,
    names: LiveNames,
    tcp: TcpTable,
) -> Neighbourhood | None:
    """Return the other workers; None where there are none."""
    if settings.inbox is None:
        return None
    others = Outboxes(settings.number, settings.outboxes)
    dataplane.share(Sharing(settings.number, settings.workers, others, tcp, is_steered=settings.is_steered))
    return Neighbourhood(loop, dataplane, names, settings.inbox, others)


def _owners(settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> AskedOwners | SocketOwners | None:
    """Return who knows which process a flow is of; None where nobody does."""
    if settings.owners is not None:
        return AskedOwners(settings.owners, loop)
    if settings.diagnosis < 0:
        return None
    return SocketOwners(socket.socket(fileno=settings.diagnosis))
