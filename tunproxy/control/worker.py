"""The worker: composes the packet path around a device and runs it in this process."""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton

from tunproxy.control.policy import load_decider
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.datagram.table import DatagramTable
from tunproxy.device.tun import TunDevice
from tunproxy.errors import ConfigError
from tunproxy.flow.counters import Counters
from tunproxy.flow.targets import Targets
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.host import libc
from tunproxy.loop.dataplane import Dataplane, DeviceSink
from tunproxy.loop.selector import PacketSelector
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import RCV_BUF, Settings
from tunproxy.upstream.opening import AsyncOpener
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.version import describe

KEPT_MEMORY = 16 << 20  # octets of freed memory that stay ours: a burst of packets both ways
GC_THRESHOLD = 20_000  # new objects before a look for cycles: flows are made without any
RESERVED_FILES = 64  # descriptors that are not flows: libraries, logs, resolvers


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
    """What one worker needs to know. udp_timeout is in seconds; mark 0 and interface "" mean none."""

    device: TunDevice
    mtu: int = 1500
    mark: int = 0
    bind_interface: str = ""
    udp_timeout: float = 300.0
    address_maps: tuple[AddressMap, ...] = ()


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
        opener = AsyncOpener(loop, dataplane, sockets)
        _attach_tables(settings, dataplane, sockets, opener, counters)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                loop.add_signal_handler(number, stop.set)
        if stop_fd >= 0:
            loop.add_reader(stop_fd, stop.set)
        _settle_memory()
        on_ready(_start_line(settings))
        loop.run_until_complete(stop.wait())
        opener.close()
    finally:
        loop.close()
        dataplane.close()
    return counters.snapshot()


def _attach_tables(
    settings: WorkerSettings,
    dataplane: Dataplane,
    sockets: KernelSockets,
    opener: AsyncOpener,
    counters: Counters,
) -> None:
    offload = settings.device.offload
    sink = DeviceSink(settings.device.fd, counters)
    targets = _targets(settings.address_maps)
    tcp_settings = Settings(settings.mtu, RCV_BUF, UNTHROTTLED, offload.tso4, offload.tso6)
    max_flows = max(_raise_file_limit() - RESERVED_FILES, 16)
    secret = os.urandom(16)
    decider = load_decider()
    tcp = TcpTable(
        sink, dataplane, sockets, targets, decider, opener, counters, tcp_settings, secret, max_flows
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
    )
    dataplane.attach(tcp, datagrams, Reassembler(counters))


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
