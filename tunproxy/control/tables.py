"""The tables of flows, TCP and datagrams, as settings and the limits of the process want them."""

import os
from typing import Final

from tunproxy.control.shares import raise_file_limit, share_out
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.datagram.reassembly import MAX_MEMORY
from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import DatagramService, Decider, FlowWatcher, Opener
from tunproxy.flow.targets import Targets
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.loop.dataplane import Dataplane
from tunproxy.tcp.autotune import RCV_BUF_MOST, RCV_BUF_START
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Settings
from tunproxy.upstream.sockets import KernelSockets

SHARES: Final = 16  # our choice: no flow alone makes memory short


def build_tables(
    settings: WorkerSettings,
    dataplane: Dataplane,
    sockets: KernelSockets,
    opener: Opener,
    counters: Counters,
    *,
    decider: Decider,
    service: DatagramService,
    targets: Targets,
    watcher: FlowWatcher,
) -> tuple[TcpTable, DatagramTable]:
    """Return the tables, sharing out what the process may have open and hold.

    decider is asked about every flow, service answers the datagrams it takes, watcher is told of flows.
    """
    offload = settings.device.offload
    sink = dataplane.sink
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
    shares = share_out(raise_file_limit())
    secret = os.urandom(16)
    tcp = TcpTable(
        sink,
        dataplane,
        sockets,
        targets,
        decider,
        opener,
        counters,
        tcp_settings,
        secret,
        shares.flows,
        memory,
        watcher,
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
        decider=decider,
        service=service,
        opener=opener,
        watcher=watcher,
    )
    return tcp, datagrams
