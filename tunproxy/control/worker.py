"""The worker: composes the packet path around a device and runs it in this process."""

import asyncio
import codecs
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton

from tunproxy.control.config.sources import Sources
from tunproxy.control.flow_news import FlowNews
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.live_names import LiveNames
from tunproxy.control.owners import AskedOwners
from tunproxy.control.policy import Policy, Surroundings, built_in_sources
from tunproxy.control.questions import answer_on
from tunproxy.control.settings import MEMORY_DEFAULT
from tunproxy.control.shares import share_out
from tunproxy.control.snapshot import Snapshot
from tunproxy.datagram.reassembly import MAX_MEMORY, Reassembler
from tunproxy.datagram.table import DatagramTable
from tunproxy.decide.settling import Settler
from tunproxy.device.tun import TunDevice
from tunproxy.errors import ConfigError
from tunproxy.flow.counters import Counters
from tunproxy.flow.targets import Targets
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.host import libc
from tunproxy.host.owners import SocketOwners
from tunproxy.loop.dataplane import Dataplane, DeviceSink
from tunproxy.loop.selector import PacketSelector
from tunproxy.tcp.autotune import RCV_BUF_MOST, RCV_BUF_START
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Settings
from tunproxy.upstream.deferred import Deferrer
from tunproxy.upstream.health import Health
from tunproxy.upstream.opening import AsyncDialer, AsyncOpener
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.version import describe

KEPT_MEMORY = 16 << 20  # octets of freed memory that stay ours: a burst of packets both ways
GC_THRESHOLD = 20_000  # new objects before a look for cycles: flows are made without any
SHARES = 16  # no flow alone makes memory short


@dataclass(frozen=True)
class AddressMap:
    """One address that means another: (address, port) as the client writes it, and what is dialled.

    port 0 stands for every port, to_port 0 for the same port.
    """

    address: str
    port: int
    to_address: str
    to_port: int


@dataclass(frozen=True)
class WorkerSettings:
    """What one worker needs to know. udp_timeout is in seconds; mark 0 and interface "" mean none.

    questions is where the supervisor asks what happens (see ``questions``). sources are what the policy is
    made from; None for the built-in configuration. resolvers are the host's, as they were before us.
    Which process a flow is of is asked over owners (see ``owners``), or else found out by diagnosis, a
    netlink socket of the clients' network namespace (``host.sock_diag``); without both nobody knows.
    """

    device: TunDevice
    mtu: int = 1500
    mark: int = 0
    bind_interface: str = ""
    udp_timeout: float = 300.0
    memory: int = MEMORY_DEFAULT
    address_maps: tuple[AddressMap, ...] = ()
    questions: socket.socket | None = None
    sources: Sources | None = None
    resolvers: tuple[str, ...] = ()
    owners: socket.socket | None = None
    diagnosis: int = -1


def run_worker(
    settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]
) -> dict[str, int]:
    """Serve the device until SIGINT, SIGTERM, or stop_fd becomes readable; return the counters.

    on_ready is called once with the start-up line. All flows are reset at the end. SIGINT and SIGTERM
    are left alone where somebody else handles or ignores them.
    """
    counters = Counters()
    dataplane = Dataplane(settings.device.fd, counters)
    loop = asyncio.SelectorEventLoop(PacketSelector(dataplane))
    try:
        sockets = KernelSockets(settings.mark, settings.bind_interface)
        dialer = AsyncDialer(loop, sockets)
        health = Health()
        opener = AsyncOpener(loop, dataplane, sockets, on_suspect=health.on_suspect)
        names = LiveNames(loop, dataplane, sockets, dialer, settings.resolvers)
        owners = _owners(settings, loop)
        targets = _targets(settings.address_maps)
        around = Surroundings(
            health=health,
            targets=targets,
            names=names.table,
            processes=owners,
            waiters=Deferrer(Settler(names.resolve), targets),
            dns=names.build,
            may_sniff=True,
        )
        keeper = PolicyKeeper(settings.sources or built_in_sources(), around)
        news = FlowNews(loop, dataplane)
        tcp, datagrams = _tables(settings, dataplane, sockets, opener, counters, keeper, names, targets, news)
        dataplane.attach(tcp, datagrams, Reassembler(counters))

        def adopt(policy: Policy) -> None:
            health.adopt(policy.parts.watches)
            names.adopt(policy.dns, policy.wants_fake)
            tcp.on_new_policy()
            datagrams.on_new_policy()
            news.adopt(policy)

        keeper.adopted = adopt
        adopt(keeper.policy)
        if settings.questions is not None:
            snapshot = Snapshot(counters, tcp, datagrams, opener, keeper, names)
            answer_on(
                loop,
                settings.questions,
                {"status": snapshot, "policy": keeper.state},
                {
                    "reload": lambda fd: keeper.reload(fd, loop),
                    **news.answers(tcp, datagrams, keeper, names),
                },
            )
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                loop.add_signal_handler(number, stop.set)
        if stop_fd >= 0:
            loop.add_reader(stop_fd, stop.set)
        _settle_memory()
        codecs.lookup("idna")  # for names of proxies: later we may not be able to read Python's library
        on_ready(_start_line(settings))
        health.start(loop, dialer, dataplane)
        loop.run_until_complete(stop.wait())
        health.stop()
        opener.close()
        loop.run_until_complete(news.close(tcp, datagrams))
        loop.run_until_complete(names.close())
        if owners is not None:
            owners.close()
    finally:
        loop.close()
        dataplane.close()
    return counters.snapshot()


def _tables(
    settings: WorkerSettings,
    dataplane: Dataplane,
    sockets: KernelSockets,
    opener: AsyncOpener,
    counters: Counters,
    keeper: PolicyKeeper,
    names: LiveNames,
    targets: Targets,
    news: FlowNews,
) -> tuple[TcpTable, DatagramTable]:
    offload = settings.device.offload
    sink = DeviceSink(settings.device.fd, counters)
    memory = settings.memory - MAX_MEMORY  # what fragments may take; datagrams are not kept
    tcp_settings = Settings(
        settings.mtu,
        RCV_BUF_START,
        UNTHROTTLED,
        offload.tso4,
        offload.tso6,
        rcv_buf_most=min(RCV_BUF_MOST, memory // SHARES),
        has_tso_ecn=offload.tso_ecn,
    )
    shares = share_out(_raise_file_limit())
    secret = os.urandom(16)
    tcp = TcpTable(
        sink,
        dataplane,
        sockets,
        targets,
        keeper.decider,
        opener,
        counters,
        tcp_settings,
        secret,
        shares.flows,
        memory,
        news.watcher,
    )
    datagrams = DatagramTable(
        sink,
        dataplane,
        sockets,
        targets,
        counters,
        int(settings.udp_timeout * 1e6),
        mtu=settings.mtu,
        has_uso4=offload.uso4,
        has_uso6=offload.uso6,
        max_associations=shares.associations,
        max_sessions=shares.pings,
        decider=keeper.decider,
        service=names,
        opener=opener,
        watcher=news.watcher,
    )
    return tcp, datagrams


def _owners(settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> AskedOwners | SocketOwners | None:
    """Return who knows which process a flow is of; None where nobody does."""
    if settings.owners is not None:
        return AskedOwners(settings.owners, loop)
    if settings.diagnosis < 0:
        return None
    return SocketOwners(socket.socket(fileno=settings.diagnosis))


def _targets(maps: tuple[AddressMap, ...]) -> Targets:
    found = {}
    for entry in maps:
        try:
            packed = inet_pton(AF_INET6 if ":" in entry.address else AF_INET, entry.address)
        except OSError as error:
            raise ConfigError(f"cannot map {entry.address!r}: not an IP address") from error
        found[packed, entry.port] = (entry.to_address, entry.to_port)
    return Targets(found)


def _settle_memory() -> None:
    """Tell both memory managers that packets come and go all the time, and most of the rest stays."""
    libc.keep_freed_memory(KEPT_MEMORY)
    gc.collect()
    gc.freeze()  # what lives as long as the process need not be looked at again
    gc.set_threshold(GC_THRESHOLD, 10, 10)


def _raise_file_limit() -> int:
    """Raise the limit of open files to what is allowed, as each flow needs one; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _start_line(settings: WorkerSettings) -> str:
    device = settings.device
    return f"{describe()}: {device.name} mtu {settings.mtu}, offload {device.offload.describe()}"
