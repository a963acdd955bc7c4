"""The worker: composes the packet path around a device and runs it in this process."""

import asyncio
import codecs
import signal
import socket
from collections.abc import Callable

from tunproxy.control.flow_news import FlowNews
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.live_names import LiveNames
from tunproxy.control.memory import settle_memory
from tunproxy.control.owners import AskedOwners
from tunproxy.control.policy import Policy, Surroundings, built_in_sources
from tunproxy.control.questions import answer_on
from tunproxy.control.snapshot import Snapshot
from tunproxy.control.tables import build_tables
from tunproxy.control.worker_settings import WorkerSettings, targets_of
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.decide.settling import Settler
from tunproxy.flow.counters import Counters
from tunproxy.host.owners import SocketOwners
from tunproxy.loop.dataplane import Dataplane
from tunproxy.loop.selector import PacketSelector
from tunproxy.upstream.deferred import Deferrer
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.health import Health
from tunproxy.upstream.opening import AsyncOpener
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.version import describe


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
        targets = targets_of(settings.address_maps)
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
        tcp, datagrams = build_tables(
            settings, dataplane, sockets, opener, counters,
            decider=keeper.decider, service=names, targets=targets, watcher=news.watcher,
        )  # fmt: skip
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
                    "fake-file": names.take_fake_files,
                    **news.answers(tcp, datagrams, keeper, names),
                },
            )
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                loop.add_signal_handler(number, stop.set)
        if stop_fd >= 0:
            loop.add_reader(stop_fd, stop.set)
        settle_memory()
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


def _owners(settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> AskedOwners | SocketOwners | None:
    """Return who knows which process a flow is of; None where nobody does."""
    if settings.owners is not None:
        return AskedOwners(settings.owners, loop)
    if settings.diagnosis < 0:
        return None
    return SocketOwners(socket.socket(fileno=settings.diagnosis))


def _start_line(settings: WorkerSettings) -> str:
    device = settings.device
    return f"{describe()}: {device.name} mtu {settings.mtu}, offload {device.offload.describe()}"
