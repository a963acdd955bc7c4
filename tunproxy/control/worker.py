"""The worker: runs the packet path around a device in this process, until somebody asks it to end."""

import asyncio
import codecs
import contextlib
import signal
from collections.abc import Callable, Iterator

from tunproxy.control.memory import settle_memory
from tunproxy.control.questions import answer_on
from tunproxy.control.worker_parts import WorkerParts
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.flow.counters import Counters
from tunproxy.loop.dataplane import Dataplane
from tunproxy.loop.selector import PacketSelector
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
        parts = WorkerParts(settings, loop, dataplane, counters)
        if settings.questions is not None:
            answer_on(loop, settings.questions, *parts.answers())
        with _asked_to_stop(loop, stop_fd) as stop:
            settle_memory()
            codecs.lookup("idna")  # for names of proxies: later we may not be able to read Python's library
            on_ready(_start_line(settings))
            parts.start()
            loop.run_until_complete(stop.wait())
            parts.close()
    finally:
        loop.close()
        dataplane.close()
    return counters.snapshot()


@contextlib.contextmanager
def _asked_to_stop(loop: asyncio.AbstractEventLoop, stop_fd: int) -> Iterator[asyncio.Event]:
    """Yield what is set when a signal, or stop_fd unless it is -1, asks us to stop.

    The signals that we handle are ignored afterwards: another one, from who ends all of us, must not find the
    loop half closed.
    """
    stop = asyncio.Event()
    handled: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            loop.add_signal_handler(number, stop.set)
            handled.append(number)
    if stop_fd >= 0:
        loop.add_reader(stop_fd, stop.set)
    try:
        yield stop
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_IGN)


def _start_line(settings: WorkerSettings) -> str:
    device = settings.device
    return f"{describe()}: {device.name} mtu {settings.mtu}, offload {device.offload.describe()}"
