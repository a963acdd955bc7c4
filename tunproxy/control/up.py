"""``tunproxy up``: all traffic of this network namespace, until we are told to stop.

    supervisor (root) ── fork ──▶ workers (a user of their own), one for each queue of the TUN
      claim the table               load plugins, open what is needed
      TUN, addresses                give up all rights, say so
      wait for the workers          carry packets
      routes, policy rules
      serve the API, say whose        ask whose a flow is, where
      flows they are, reload when     a rule wants to know
      files change, replace who
      dies, until a signal

Routes and rules come last, when somebody serves them, and go first. The supervisor keeps the device for a
worker that takes a dead one's place (``crew``). When the supervisor dies, the kernel kills the workers: the
device lives as long as there is somebody to look after it, and routes vanish with it.

The worker's own packets keep out of the TUN by the uid they are sent with. With a mark they do by the
mark; with an interface to bind to they do in any case, as a route into the TUN does not match them.
"""

import dataclasses
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tunproxy.control.capture import CaptureOptions
from tunproxy.control.capture_report import CaptureReport
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.config.search import passed_over
from tunproxy.control.config.sources import Sources, read_sources
from tunproxy.control.crew import Crew
from tunproxy.control.device_queues import open_for_workers
from tunproxy.control.following_rules import FollowingRules
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.kill_switch import KillSwitchKeeper
from tunproxy.control.lane import LaneKeeper
from tunproxy.control.naming import host_resolvers, state_folder
from tunproxy.control.plan import Plan
from tunproxy.control.policy import may_answer_names
from tunproxy.control.process import SIGNALS, Identity
from tunproxy.control.serving import Serve, tell
from tunproxy.control.settings import MEMORY_MIN, UpSettings, with_capture, with_device
from tunproxy.control.strangers import strangers_in_words
from tunproxy.control.supervising import Made, supervise
from tunproxy.control.worker import run_worker
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.device.tun import TunDevice
from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.host import kept_rights, links, privileges
from tunproxy.host.changes import Changes
from tunproxy.host.lane import clear_lane
from tunproxy.host.netlink import Netlink
from tunproxy.host.notify import take_service_manager
from tunproxy.host.routes import LANE_TABLE, TABLE
from tunproxy.host.rules import TableClaim

WORKER_DIED: Final = 1  # exit code


def up(settings: UpSettings, serve: Serve = run_worker) -> int:
    """Serve this network namespace until SIGINT or SIGTERM; return the exit code to end with.

    SIGHUP has the configuration read again, unless it says that our terminal has gone: then it ends us too.

    serve runs the packet path in the worker. Raises ConfigError and SystemChangeError when we cannot
    start; then nothing has changed. A service manager that has started us is told how far we are.
    """
    privileges.need_descriptors()
    manager = take_service_manager()
    settings.logs.set_up()  # for what may be wrong with the configuration
    settings.check()
    sources = read_sources(settings.policy)
    settings.logs.set_up(sources.config.log)
    if not (settings.policy.config or settings.policy.upstream) and (words := passed_over(os.environ)):
        tell(words, logging.WARNING)
    settings = with_capture(with_device(settings, sources.config.device), sources.config.capture)
    if settings.capture.kill_switch and not settings.routes:
        raise ConfigError("cannot hold a kill switch: somebody else routes (leave --no-route out)")
    scope = settings.capture.scope(sources.config.dns, answers_names=may_answer_names(sources))
    _check_rights()
    needs = privileges.SocketNeeds(settings.mark, settings.bind_interface)
    ids = privileges.worker_ids(settings.worker_uid)
    identity = Identity(*ids, needs, sources.config.device.sandbox, sources.config.plugins.written())
    _give_up_rights(sources)
    with ExitStack() as cleanup:
        claim = TableClaim()
        cleanup.callback(claim.give_up)
        if settings.routes:
            _claim_table(claim)
        devices, steering = open_for_workers(settings.tun, settings.workers)
        for device in devices:
            cleanup.callback(device.close)
        name = devices[0].name
        if settings.routes:
            links.allow_ipv6(name)
        plan = Plan(settings, identity, name, links.tun_addresses(name), sources, scope)
        with Netlink() as net:
            _configure_link(plan, Changes(net))
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # for good: a second Ctrl-C cuts no revert short
        crew = _crew(plan, devices, steering, serve)
        cleanup.callback(crew.stop)
        line = crew.start()
        if line is None:
            return 0
        net = cleanup.enter_context(Netlink())
        changes = Changes(net)
        groups = CaptureReport(settings.capture if settings.routes else CaptureOptions(), scope)
        cleanup.callback(groups.close)  # after the policy rules, which ask for the marks
        switch = KillSwitchKeeper(is_wanted=plan.kill_switch() is not None)
        switch.look(net)
        cleanup.callback(switch.end, changes)
        plan = dataclasses.replace(plan, scope=groups.mark(name, net))
        wishes = crew.settings.wishes
        lane = LaneKeeper(
            sources,
            is_wanted=bool(settings.routes) and scope.has_lane,
            answers_names=scope.dns,
            wishes=wishes,
        )
        wishes.on_change = lane.look_again
        rules = FollowingRules(plan.rules())
        if settings.routes:
            _route(plan, changes, lane, rules)
            switch.put(plan.kill_switch(rules), net, changes)
        kept = [*plan.link(), *groups.kept, *changes.applied] if settings.routes else []
        notes = strangers_in_words(net) if settings.routes else []
        made = Made(plan, crew, kept, rules, groups, lane, switch, notes)
        why = supervise(made, manager, plan.start_line(line))
        switch.was_asked_to_stop = why is None
        manager.stopping(switch.words)
        if why is None:
            return 0
        tell(f"the worker died ({why}): {switch.words}", logging.ERROR)
        return WORKER_DIED


def _check_rights() -> None:
    """Raise SystemChangeError where this process may not do what it has to; root in a container, say."""
    lacked = privileges.lacked_for_workers()
    if lacked:
        how = "run as root, or see tunproxy exec"
        if os.geteuid() == 0:
            how = f"root is without {', '.join(lacked)} here: have this container, or unit, given that"
        raise SystemChangeError(f"cannot change routes: not permitted ({how})")


def _give_up_rights(sources: Sources) -> None:
    """Keep the rights of root that are needed from here on."""
    privileges.allow_descriptors()
    named = sources.config.dns.fake_ip_file
    written = [*sources.paths, state_folder() / "any", *([Path(named)] if named else [])]
    kept_rights.keep(
        writes_for_others=kept_rights.belong_to_others(written), listens=bool(sources.config.api.listen)
    )


def _claim_table(claim: TableClaim) -> None:
    """Make sure that nobody uses our table and rules. Raises SystemChangeError."""
    if not claim.take(TABLE):
        why = "another tunproxy serves it already (stop that one, or use --no-route)"
        raise SystemChangeError(f"cannot serve this network namespace: {why}")
    if claim.squatter >= 0:
        tell(
            f"a program of user {claim.squatter} holds the name by which one tunproxy knows of another "
            "(it is passed over; ss -xap shows it)",
            logging.WARNING,
        )
    with Netlink() as net:
        _refuse_others(net, TABLE)
        clear_lane()
        _refuse_others(net, LANE_TABLE)


def _refuse_others(net: Netlink, table: int) -> None:
    """Raise SystemChangeError where table has routes that a kill switch cannot have left."""
    if net.is_in_use(table):
        why = "somebody else's routes are in it (remove them, or use --no-route)"
        raise SystemChangeError(f"cannot use routing table {table}: {why}")


def _configure_link(plan: Plan, changes: Changes) -> None:
    """Set up the link; what is done to it ends with it, so there is nothing to revert."""
    for change in plan.link():
        changes.apply(change)


def _crew(plan: Plan, devices: Sequence[TunDevice], steering: str, serve: Serve) -> Crew:
    settings = WorkerSettings(
        device=devices[0],
        mtu=plan.settings.mtu,
        mark=plan.settings.mark,
        bind_interface=plan.settings.bind_interface,
        udp_timeout=plan.settings.udp_timeout,
        memory=max(plan.settings.memory // len(devices), MEMORY_MIN),
        sources=plan.sources,
        resolvers=host_resolvers(is_apart=False),
        serves_others=plan.scope.forwarded,
        wishes=Wishes(StateFiles(state_folder()).choices()),
    )
    return Crew(devices, settings, plan.identity, serve=serve, steering=steering)


def _route(plan: Plan, changes: Changes, lane: LaneKeeper, rules: FollowingRules) -> None:
    for route in plan.routes():
        changes.apply(route)
    if plan.scope.has_lane:
        changes.apply(lane.change())
    changes.apply(rules)
