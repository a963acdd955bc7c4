"""``tunproxy exec``: one command in a network of its own, with no effect on the rest of the machine.

    worker ◀── fork ── we ── fork ──▶ child
                       │                 new namespaces, loopback, TUN, routes, resolv.conf
       ◀── the TUN ─── │ ◀── the TUN ─── │
    load plugins       │                 │
       ──── ready ───▶ │ ────── go ────▶ │
    carry packets      wait              exec COMMAND
                       until COMMAND ends, and end like it

We and the worker stay in the caller's namespaces, with the caller's rights. The child needs no privilege
but those its own user namespace gives it, and loses them when it becomes the command. When the worker
dies, and it does when we die, the device vanishes: the command has no network then, but also no other
than before. The worker is not us, so that packets go on while a shell has stopped us and the command.
"""

import errno
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, NoReturn

from tunproxy.control.api import ApiThread
from tunproxy.control.clash.service import Clash
from tunproxy.control.config.sources import Sources, read_sources
from tunproxy.control.endpoint import claim
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.history.recorder import Recorder
from tunproxy.control.inquiry import Inquiry
from tunproxy.control.naming import host_resolvers
from tunproxy.control.process import STOP_SIGNALS, WorkerProcess
from tunproxy.control.questions import Questions
from tunproxy.control.reload import Reloader
from tunproxy.control.serving import Serve, tell
from tunproxy.control.settings import (
    EVERYTHING,
    ExecSettings,
    parse_host_address,
    parse_network,
    with_device,
)
from tunproxy.control.status import Instance, StatusReport
from tunproxy.control.worker import run_worker
from tunproxy.control.worker_settings import AddressMap, WorkerSettings
from tunproxy.device.tun import TunDevice, open_tun
from tunproxy.errors import SystemChangeError, TunproxyError
from tunproxy.host import jobs, namespaces, privileges, resolver
from tunproxy.host.addresses import RESOLVER_IPV4, RESOLVER_IPV6
from tunproxy.host.changes import Changes
from tunproxy.host.closing import count_closing, open_tables
from tunproxy.host.descriptors import receive_device, send_device
from tunproxy.host.links import Address, LinkUp, tun_addresses
from tunproxy.host.netlink import MAIN_TABLE, Netlink
from tunproxy.host.routes import Route
from tunproxy.host.sock_diag import open_diagnosis

DNS_PORT: Final = 53
NOT_FOUND: Final = 127  # the exit codes of a shell (POSIX.1-2017, XCU 2.8.2)
NOT_EXECUTABLE: Final = 126

# our choices: how long a command's end may take when it has closed connections that are not finished
LAST_WORDS_SECONDS: Final = 20.0  # while there is something to be sent
ANSWER_SECONDS: Final = 1.0  # once the packet path has it all; servers close within a round trip

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Resolution:
    """How names are resolved inside: the text of resolv.conf, and where its nameservers really are."""

    text: str
    maps: tuple[AddressMap, ...]


def execute(settings: ExecSettings, serve: Serve = run_worker) -> int:
    """Run the command and return its wait status (os.waitstatus_to_exitcode, jobs.end_like).

    serve runs the packet path. Raises ConfigError and SystemChangeError before anything has happened, and
    TunproxyError when the packet path cannot start. When the child fails before it becomes the command,
    it says why itself, and ends with an exit code for us to return.
    """
    privileges.need_descriptors()
    settings.logs.set_up()
    settings.check()
    sources = read_sources(settings.policy)
    settings.logs.set_up(sources.config.log)
    settings = with_device(settings, sources.config.device)
    needs = privileges.SocketNeeds(settings.mark, settings.bind_interface)
    if not needs.are_met():
        raise SystemChangeError(f"cannot {needs.describe()}: not permitted (run as root)")
    resolution = _resolution_inside(resolver.read_host_settings())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    with ExitStack() as cleanup:
        job = jobs.CommandJob()
        cleanup.callback(job.close)
        cleanup.callback(ours.close)  # before the job is closed: a child that waits for us ends then
        pid = os.fork()
        if pid == 0:
            job.become_child()
            ours.close()
            _become_command(settings, resolution.text, theirs)
        job.adopt(pid)
        theirs.close()
        device, others = receive_device(ours)
        if device is None:
            return job.wait(lambda: None)
        diagnosis, *tables = others
        worker = _start_worker(
            settings, device, diagnosis, resolution.maps, sources, serve=serve, job=job, channel=ours
        )
        os.close(diagnosis)
        cleanup.callback(worker.stop)
        device.close()
        if worker.wait_ready() is None:
            job.send(signal.SIGTERM)
        else:
            _serve_api(settings, sources, device.name, worker, cleanup)
            ours.send(b"go")
        status = job.wait(_TellOnce(worker, settings.command[0]))
        _finish_connections(worker, tables)
        return status


def _serve_api(
    settings: ExecSettings, sources: Sources, tun: str, worker: WorkerProcess, cleanup: ExitStack
) -> None:
    """Serve the API at our control socket, and reload on save, until cleanup; nobody of us forks any more.

    Without that socket, in a place that can only be read, the command runs all the same, and the terminal
    is its own: ``tunproxy status``, which finds nothing, is where that is missed.
    """
    name = f"exec-{os.getpid()}"
    if not sources.config.api.enabled:
        return
    with suppress(SystemChangeError):
        endpoint = claim(name)
        cleanup.callback(endpoint.close)
        workers = [Questions(worker.questions)]
        reloader = Reloader(settings.policy, sources, workers)
        history = Recorder(workers, lambda: reloader.sources.config.history, name, say=_say_nothing)
        instance = Instance("exec", name, tun, settings.command[0])
        wishes = Wishes()
        report = StatusReport(instance, workers, reloader, [history, wishes])
        inquiry = Inquiry(workers)
        clash = Clash(workers, reloader, wishes, tun)

        @asynccontextmanager
        async def beside() -> AsyncIterator[None]:
            async with reloader.watching(), history.recording():
                yield

        api = ApiThread(endpoint.listener, report.document, reloader.answer, beside, inquiry, clash)
        cleanup.callback(api.close)


def _say_nothing(line: str) -> None:
    """Stand for ``tell`` where the terminal is the command's: ``tunproxy status`` says it."""


class _TellOnce:
    """Tells the user, once, that the command has lost its network."""

    def __init__(self, worker: WorkerProcess, command: str) -> None:
        self._worker = worker
        self._command = command
        self._told = False

    def __call__(self) -> None:
        if not self._told and self._worker.has_ended():
            self._told = True
            how = self._worker.how_it_ended()
            tell(f"the worker died ({how}): {self._command} goes on without a network", logging.ERROR)


def _finish_connections(worker: WorkerProcess, tables: list[int]) -> None:
    """Let the kernel send what the command has written before it ended, and the worker carry it on.

    A signal ends the waiting: whoever sends it has waited enough.
    """
    ends_at = time.monotonic() + LAST_WORDS_SECONDS
    while time.monotonic() < ends_at and not worker.has_ended():
        closing = count_closing(tables)
        if not closing.unsent:
            if not closing.half_closed:
                break
            ends_at = min(ends_at, time.monotonic() + ANSWER_SECONDS)
        if signal.sigtimedwait(STOP_SIGNALS, 0.005):
            break


def _start_worker(
    settings: ExecSettings,
    device: TunDevice,
    diagnosis: int,
    resolver_maps: tuple[AddressMap, ...],
    sources: Sources,
    *,
    serve: Serve,
    job: jobs.CommandJob,
    channel: socket.socket,
) -> WorkerProcess:
    worker_settings = WorkerSettings(
        device=device,
        mtu=settings.mtu,
        mark=settings.mark,
        bind_interface=settings.bind_interface,
        udp_timeout=settings.udp_timeout,
        memory=settings.memory,
        address_maps=(*resolver_maps, *_host_maps(settings)),
        sources=sources,
        resolvers=host_resolvers(is_apart=True),
        diagnosis=diagnosis,
    )

    def forget() -> None:
        channel.close()
        job.forget()

    return WorkerProcess(worker_settings, None, serve=serve, forget=forget)


def _resolution_inside(settings: str) -> _Resolution:
    """Return what the command gets in place of the host's resolv.conf.

    Each of its nameservers stands for the first of the host's of the same family: a map does not change
    the family.
    """
    chosen: dict[int, tuple[str, str]] = {}
    for outside in resolver.nameservers(settings):
        version = ip_address(outside).version
        chosen.setdefault(version, (RESOLVER_IPV4 if version == 4 else RESOLVER_IPV6, outside))
    text = resolver.with_nameservers(settings, [inside for inside, _ in chosen.values()])
    return _Resolution(text, tuple(AddressMap(a, DNS_PORT, b, DNS_PORT) for a, b in chosen.values()))


def _host_maps(settings: ExecSettings) -> list[AddressMap]:
    addresses = [parse_host_address(text) for text in settings.host_addresses]
    return [AddressMap(str(a), 0, "127.0.0.1" if a.version == 4 else "::1", 0) for a in addresses]


def _become_command(settings: ExecSettings, resolv_conf: str, channel: socket.socket) -> NoReturn:
    """Set up the namespaces of the command and become it; in the child, which never returns from here."""
    code = TunproxyError.exit_code
    try:
        device = _make_network(settings)
        resolver.replace_resolv_conf(resolv_conf)
        with open_diagnosis() as diagnosis:
            send_device(channel, device, [diagnosis.fileno(), *open_tables()])
        device.close()  # ours must not keep the device alive when the packet path has died
        if channel.recv(16):  # else the packet path did not start, and our parent says why
            code = _exec(settings.command)
    except TunproxyError as error:
        tell(str(error), logging.ERROR)
    except BaseException:  # our own mistake, worth a report
        _log.critical("%s: this should not have happened", settings.command[0], exc_info=True)
    finally:
        os._exit(code)


def _make_network(settings: ExecSettings) -> TunDevice:
    """Enter new namespaces and return a TUN device that all of their traffic goes into."""
    namespaces.enter_new_namespaces()
    namespaces.allow_ping()
    device = open_tun(settings.tun)
    addresses = tun_addresses(device.name)
    versions = [address.version for address in addresses]
    with Netlink() as net:
        changes = Changes(net)  # never reverted: they end with the namespace
        net.set_link("lo", up=True)
        changes.apply(LinkUp(device.name, settings.mtu))
        for address in addresses:
            changes.apply(Address(device.name, address))
        for prefix in map(parse_network, EVERYTHING):
            if prefix.version in versions:
                changes.apply(Route(prefix, device.name, MAIN_TABLE))
    return device


def _exec(command: tuple[str, ...]) -> int:
    """Become command; return the exit code that a shell would have when that is impossible."""
    try:
        try:
            os.execvp(command[0], command)
        except OSError as error:
            path = shutil.which(command[0])
            if error.errno != errno.ENOEXEC or path is None:
                raise
            os.execv("/bin/sh", ("sh", path, *command[1:]))  # a script without #!, as execvp(3) does
    except FileNotFoundError:
        tell(f"cannot run {command[0]!r}: no such command", logging.ERROR)
        return NOT_FOUND
    except OSError as error:
        tell(f"cannot run {command[0]!r}: {(error.strerror or str(error)).lower()}", logging.ERROR)
        return NOT_EXECUTABLE
