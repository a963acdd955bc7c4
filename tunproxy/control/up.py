"""``tunproxy up``: all traffic of this network namespace, until we are told to stop.

    supervisor (root) ── fork ──▶ worker (a user of its own)
      claim the table               load plugins, open what is needed
      TUN, addresses                give up all rights, say so
      wait for the worker           carry packets
      routes, policy rules
      serve the API, say whose        ask whose a flow is, where
      flows they are, reload when     a rule wants to know
      files change, until a signal

Routes and rules come last, when somebody serves them, and go first. Only the worker keeps the device
open: the device lives exactly as long as the one who serves it, and routes vanish with it.

The worker's own packets keep out of the TUN by the uid they are sent with. With a mark they do by the
mark; with an interface to bind to they do in any case, as a route into the TUN does not match them.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from typing import Final

from tunproxy.control.api import serve as serve_api
from tunproxy.control.config.sources import Sources, read_sources
from tunproxy.control.endpoint import claim
from tunproxy.control.inquiry import Inquiry
from tunproxy.control.naming import host_resolvers
from tunproxy.control.notifying import telling_alive, telling_reload
from tunproxy.control.owners import owner_sockets, tell_owners
from tunproxy.control.process import SIGNALS, Identity, WorkerProcess
from tunproxy.control.questions import Questions
from tunproxy.control.reload import Reloader
from tunproxy.control.serving import Serve, tell
from tunproxy.control.settings import UpSettings, parse_network, with_device
from tunproxy.control.status import Instance, StatusReport
from tunproxy.control.worker import run_worker
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.device.tun import TunDevice, open_tun
from tunproxy.errors import SystemChangeError
from tunproxy.host import links, privileges, sysctl
from tunproxy.host.addresses import Interface
from tunproxy.host.changes import Changes
from tunproxy.host.netlink import Netlink
from tunproxy.host.notify import ServiceManager, take_service_manager
from tunproxy.host.routes import TABLE, Route
from tunproxy.host.rules import PolicyRules, TableClaim

WORKER_DIED: Final = 1  # exit code


@dataclass(frozen=True)
class _Plan:
    """What is to be done, once the device is there."""

    settings: UpSettings
    identity: Identity
    name: str
    addresses: tuple[Interface, ...]
    sources: Sources

    def routes(self) -> list[Route]:
        """Return the routes to make; those of a family that the device cannot have are left out."""
        versions = {address.version for address in self.addresses}
        prefixes = map(parse_network, self.settings.routes)
        return [Route(prefix, self.name, TABLE) for prefix in prefixes if prefix.version in versions]

    def rules(self) -> PolicyRules:
        return PolicyRules(self.name, self.addresses, TABLE, self.identity.uid, self.settings.mark)


def up(settings: UpSettings, serve: Serve = run_worker) -> int:
    """Serve this network namespace until SIGINT or SIGTERM; return the exit code to end with.

    SIGHUP has the configuration read again, unless it says that our terminal has gone: then it ends us too.

    serve runs the packet path in the worker. Raises ConfigError and SystemChangeError when we cannot
    start; then nothing has changed. A service manager that has started us is told how far we are.
    """
    manager = take_service_manager()
    settings.check()
    sources = read_sources(settings.policy)
    settings = with_device(settings, sources.config.device)
    needed = (privileges.CAP_NET_ADMIN, privileges.CAP_SETUID, privileges.CAP_SETGID)
    if not privileges.has_capabilities(*needed):
        raise SystemChangeError("cannot change routes: not permitted (run as root, or see tunproxy exec)")
    needs = privileges.SocketNeeds(settings.mark, settings.bind_interface)
    identity = Identity(*privileges.worker_ids(settings.worker_uid), needs)
    with ExitStack() as cleanup:
        claim = TableClaim()
        cleanup.callback(claim.give_up)
        if settings.routes:
            _claim_table(claim)
        device = open_tun(settings.tun)
        cleanup.callback(device.close)
        plan = _Plan(settings, identity, device.name, links.tun_addresses(device.name), sources)
        with Netlink() as net:
            _configure_link(plan, Changes(net))
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # for good: a second Ctrl-C cuts no revert short
        owners, asking = owner_sockets()
        cleanup.callback(owners.close)

        def forget() -> None:
            claim.forget()
            owners.close()

        worker = _start_worker(plan, device, asking, serve=serve, forget=forget)
        cleanup.callback(worker.stop)
        asking.close()
        device.close()
        line = worker.wait_ready()
        if line is None:
            return 0
        net = cleanup.enter_context(Netlink())
        changes = Changes(net)
        cleanup.callback(_revert, changes)
        if settings.routes:
            _route(plan, changes)
        return _supervise(worker, plan, owners, manager, _start_line(plan, line))


def _claim_table(claim: TableClaim) -> None:
    """Make sure that nobody uses our table and rules. Raises SystemChangeError."""
    if not claim.take(TABLE):
        why = "another tunproxy serves it already (stop that one, or use --no-route)"
        raise SystemChangeError(f"cannot serve this network namespace: {why}")
    with Netlink() as net:
        if net.count_routes(TABLE):
            why = "somebody else's routes are in it (remove them, or use --no-route)"
            raise SystemChangeError(f"cannot use routing table {TABLE}: {why}")


def _configure_link(plan: _Plan, changes: Changes) -> None:
    """Set up the link; what is done to it ends with it, so there is nothing to revert.

    Whoever routes himself also gives it addresses.
    """
    changes.apply(links.LinkUp(plan.name, plan.settings.mtu))
    for address in plan.addresses if plan.settings.routes else ():
        changes.apply(links.Address(plan.name, address))


def _start_worker(
    plan: _Plan, device: TunDevice, owners: socket.socket, *, serve: Serve, forget: Callable[[], None]
) -> WorkerProcess:
    settings = WorkerSettings(
        device=device,
        mtu=plan.settings.mtu,
        mark=plan.settings.mark,
        bind_interface=plan.settings.bind_interface,
        udp_timeout=plan.settings.udp_timeout,
        memory=plan.settings.memory,
        sources=plan.sources,
        resolvers=host_resolvers(is_apart=False),
        owners=owners,
    )
    return WorkerProcess(settings, plan.identity, serve=serve, forget=forget)


def _route(plan: _Plan, changes: Changes) -> None:
    for route in plan.routes():
        changes.apply(route)
    changes.apply(plan.rules())


def _revert(changes: Changes) -> None:
    for problem in changes.revert():
        tell(problem)


def _start_line(plan: _Plan, worker_line: str) -> str:
    """Return what the user wants to know once everything runs."""
    parts = [worker_line] if worker_line else []
    if plan.settings.routes:
        prefixes = " ".join(str(route.prefix) for route in plan.routes())
        parts.append(f"routes {prefixes} in table {TABLE}")
        if len(plan.addresses) == 1:
            parts.append("no ipv6 on this host")
    else:
        parts.append("no routes of ours")
    parts.append(f"worker uid {plan.identity.uid}")
    if not sysctl.allows_ping(plan.identity.gid):
        parts.append(f"no ping (gid {plan.identity.gid} is outside of net.ipv4.ping_group_range)")
    return ", ".join(parts)


def _supervise(
    worker: WorkerProcess, plan: _Plan, owners: socket.socket, manager: ServiceManager, line: str
) -> int:
    """Return 0 when a signal asks us to stop, WORKER_DIED when the worker ends before that.

    Until then the API is served at our control socket. Without that socket everything else works. Whoever has
    read line, which we print, can ask there.
    """
    workers = [Questions(worker.questions)]
    reloader = Reloader(
        plan.settings.policy,
        plan.sources,
        workers,
        lambda: telling_reload(manager, line, lambda: reloader.error),
    )
    report = StatusReport(Instance("up", plan.name, plan.name), workers, reloader)
    with ExitStack() as cleanup:
        api: AbstractAsyncContextManager[None] = contextlib.nullcontext()
        lines = [line]
        if plan.sources.config.api.enabled:
            try:
                endpoint = claim(plan.name)
                cleanup.callback(endpoint.close)
                api = serve_api(endpoint.listener, report.document, reloader.answer, Inquiry(workers))
            except SystemChangeError as error:
                lines.append(str(error))
        for each in lines:
            tell(each)
        manager.ready("; ".join(lines))
        loop = cleanup.enter_context(contextlib.closing(asyncio.new_event_loop()))
        cleanup.callback(tell_owners(loop, owners))
        beside = telling_alive(manager, workers)
        code = loop.run_until_complete(_until_the_end(worker, api, reloader, beside))
    manager.stopping("routes are put back")
    if code == WORKER_DIED:
        tell(f"the worker died ({worker.how_it_ended()}): routes are put back")
    return code


async def _until_the_end(
    worker: WorkerProcess,
    api: AbstractAsyncContextManager[None],
    reloader: Reloader,
    beside: AbstractAsyncContextManager[None],
) -> int:
    """Wait for the signal that ends us, with api and beside going on; SIGNALS are blocked again after it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    has_terminal = _has_terminal()
    reloads: set[asyncio.Task[None]] = set()

    def on_signal(number: int) -> None:
        if number == signal.SIGHUP and (not has_terminal or _has_terminal()):
            task = loop.create_task(reloader.reload_and_tell("SIGHUP"))
            reloads.add(task)
            task.add_done_callback(reloads.discard)
        elif not ended.done() and (number != signal.SIGCHLD or worker.has_ended()):
            ended.set_result(WORKER_DIED if number == signal.SIGCHLD else 0)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        async with api, reloader.watching(), beside:
            return await ended
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _has_terminal() -> bool:
    """Tell whether there is a terminal that we belong to. One that hung up is none any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
