"""The captures of one worker: begins them when it is asked."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final  # Any: documents, as JSON has them

from tunproxy import clock
from tunproxy.control.flow_filter import parse_filter
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.letters import About, answering
from tunproxy.control.packets.capturing import Capture
from tunproxy.control.packets.keys import Ends, queue_of_ends
from tunproxy.control.packets.marking import FlowMarker
from tunproxy.control.packets.shipping import MAX_SNAPLEN
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.datagram.table import DatagramTable
from tunproxy.decide.recent import RecentFlows
from tunproxy.decide.trace import ProcessSource
from tunproxy.errors import ConfigError
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.loop.dataplane import Dataplane
from tunproxy.wire.ip import TCP

MOST: Final = 8  # our choice: captures at a time

Document = dict[str, Any]


class Captures:
    """The captures of one worker. describe says what is captured here, in a document."""

    def __init__(
        self,
        dataplane: Dataplane,
        tcp: TcpTable,
        datagrams: DatagramTable,
        recent: RecentFlows,
        owners: ProcessSource | None,
        describe: Callable[[], Document],
        is_ours: Callable[[Ends], bool] = lambda ends: True,
    ) -> None:
        self._dataplane: Final = dataplane
        self._tcp: Final = tcp
        self._datagrams: Final = datagrams
        self._recent: Final = recent
        self._source: Final = owners
        self._describe: Final = describe
        self._is_ours: Final = is_ours
        self._running: Final[list[Capture]] = []

    def begin(self, letter: int, channel: int) -> Coroutine[Any, Any, object]:
        """Answer the question for a capture, in a file (``letters``), which ships over channel, a socket."""
        sock = socket.socket(fileno=channel)
        sock.setblocking(False)

        def begin(about: About) -> Document:
            try:
                return self._begin(about, sock)
            except BaseException:
                sock.close()
                raise

        answer = answering(begin)(letter)
        assert asyncio.iscoroutine(answer)
        return answer

    def close(self) -> None:
        """End all, with what they have."""
        for each in list(self._running):
            each.finish()

    def _begin(self, about: About, sock: socket.socket) -> Document:
        snaplen = about.get("snaplen", MAX_SNAPLEN)
        if type(snaplen) is not int or not 0 < snaplen <= MAX_SNAPLEN:
            raise ConfigError(
                f"cannot keep {snaplen!r} octets of a packet: no number from 1 to {MAX_SNAPLEN}"
            )
        if len(self._running) >= MOST:
            raise ConfigError(f"{MOST} captures are running (end one)")
        owners = OwnerSearch(self._source) if self._source is not None else None
        chosen = parse_filter(str(about.get("filter", "")))
        marker = FlowMarker(chosen, self._tcp, self._datagrams, self._recent, owners, self._is_ours)

        def closed(capture: Capture) -> None:
            if owners is not None:
                owners.close()
            self._running.remove(capture)
            self._tell_device()

        capture = Capture(self._dataplane, sock, marker, snaplen, closed)
        self._running.append(capture)
        self._tell_device()
        capture.begin(clock.now())
        return self._describe()

    def _tell_device(self) -> None:
        self._dataplane.copy_to([each.copier for each in self._running])


def whose(settings: WorkerSettings) -> Callable[[Ends], bool]:
    """Return what tells whether a worker is the one to answer packets that are of no flow."""
    if settings.workers == 1:
        return lambda ends: True

    def is_ours(ends: Ends) -> bool:
        if ends.protocol == TCP and not settings.is_steered:
            return True
        return queue_of_ends(ends, settings.workers) == settings.number

    return is_ours


def described(settings: WorkerSettings, policy: Callable[[], Document]) -> Callable[[], Document]:
    """Return what says of a worker what a file of packets has about it; policy is the one in force."""
    device = settings.device
    return lambda: {
        "device": device.name,
        "mtu": settings.mtu,
        "offload": device.offload.describe(),
        "policy": policy(),
    }
