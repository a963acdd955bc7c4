"""What a supervisor of ``up`` does while its workers carry packets: everything at its place, until the end.

crew, hung    who dies or hangs is replaced        api, clash   questions and orders are answered
reloader      files that change are read           watchdog     systemd is told that workers answer
network       routes and rules stay what they are  names        resolved asks us, leaks are counted
lane          what the kernel carries follows the rules
applying      what is applied is kept, tried, and taken back where it fails
history       flows that are over are recorded, where that is wanted
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass

from tunproxy.control.api import serve as serve_api
from tunproxy.control.capture_report import CaptureReport
from tunproxy.control.clash.listening import listen_or_tell
from tunproxy.control.clash.service import Clash
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.config.sources import Sources
from tunproxy.control.crew import Crew
from tunproxy.control.endpoint import claim
from tunproxy.control.following_rules import FollowingRules
from tunproxy.control.generations.desk import Desk
from tunproxy.control.generations.keeping import keeping
from tunproxy.control.history.recorder import Recorder
from tunproxy.control.hung import HangWatch
from tunproxy.control.inquiry import Inquiry
from tunproxy.control.kill_switch import KillSwitchKeeper
from tunproxy.control.lane import LaneKeeper
from tunproxy.control.lasting import until_the_end
from tunproxy.control.left_alone import LeftAlone
from tunproxy.control.name_duties import NameDuties
from tunproxy.control.naming import asks_system, state_folder
from tunproxy.control.notifying import telling_alive, telling_reload
from tunproxy.control.plan import Plan
from tunproxy.control.reconcile import Reconciler
from tunproxy.control.reload import Reloader
from tunproxy.control.serving import tell
from tunproxy.control.status import Instance, StatusPart, StatusReport
from tunproxy.errors import SystemChangeError
from tunproxy.host.changes import Change
from tunproxy.host.notify import ServiceManager
from tunproxy.host.surroundings import Sender


@dataclass(frozen=True)
class Made:
    """What ``up`` has made before it only has to look after it.

    kept is put back where others undo it; notes are told behind the start line.
    """

    plan: Plan
    crew: Crew
    kept: Sequence[Change]
    rules: FollowingRules
    groups: CaptureReport
    lane: LaneKeeper
    switch: KillSwitchKeeper
    notes: Sequence[str] = ()


def supervise(made: Made, manager: ServiceManager, line: str) -> str | None:
    """Work until a signal asks us to stop, and return None, or why the workers cannot be kept alive.

    Until then the API is served at our control socket; without that socket everything else works. Whoever has
    read line, which we print, can ask there.
    """
    plan, crew, lane, switch = made.plan, made.crew, made.lane, made.switch
    workers = crew.questions

    @contextlib.contextmanager
    def reloading() -> Iterator[None]:
        with telling_reload(manager, line, lambda: reloader.error):
            yield
        made.rules.follow(reloader.sources)
        names.spare(reloader.sources.config.dns.hijack_except)
        network.look_again()
        names.look_again()
        lane.follow(reloader.sources)

    reloader = Reloader(plan.settings.policy, plan.sources, workers, reloading)
    names = _names(crew, plan, reloader)
    sender = Sender(plan.identity.uid, plan.settings.mark)
    # what is bound to an interface does not come back; where others make the routes, some of ours may as well
    tun = "" if plan.settings.bind_interface else plan.name
    network = Reconciler(
        made.kept, sender, workers, tun=tun, cuts_loops=bool(plan.settings.routes),
        going_past=_left_alone(made).of_everything, on_change=names.look_again,
    )  # fmt: skip

    async def replaced(number: int, sources: Sources) -> None:
        network.look_again()
        await reloader.catch_up(number, sources)

    reloader.adopted, crew.replaced = crew.renew, replaced
    desk, applying = keeping(plan, crew, reloader)
    history = Recorder(workers, lambda: reloader.sources.config.history, plan.name)
    wishes = crew.settings.wishes
    parts: list[StatusPart] = [crew, applying, names, network, made.groups, lane, switch, history, wishes]
    report = StatusReport(Instance("up", plan.name, plan.name), workers, reloader, parts, story=crew.story)
    with ExitStack() as cleanup:
        api, lines = _api(made, reloader, report, desk, cleanup)
        lines = [line, *made.notes, *switch.notes, *lines]
        for each in lines:
            tell(each)
        manager.ready("; ".join(lines))
        loop = cleanup.enter_context(contextlib.closing(asyncio.new_event_loop()))
        watchdog = telling_alive(manager, workers)
        hung = HangWatch(crew, lambda: reloader.is_busy)
        duties = (
            api, applying.looking_after(), history.recording(), reloader.watching(), watchdog,
            hung.watching(), network.keeping_up(), lane.following(), *names.duties()
        )  # fmt: skip
        return loop.run_until_complete(until_the_end(crew, reloader, duties, names.hurry))


def _api(
    made: Made, reloader: Reloader, report: StatusReport, desk: Desk, cleanup: ExitStack
) -> tuple[AbstractAsyncContextManager[None], list[str]]:
    """Return what serves the API, and what is to be told of it; cleanup closes its sockets."""
    config, name, workers = made.plan.sources.config.api, made.plan.name, made.crew.questions
    if not config.enabled:
        return contextlib.nullcontext(), []
    try:
        endpoint = claim(name)
        cleanup.callback(endpoint.close)
        state = StateFiles(state_folder())
        listening, told = listen_or_tell(config, state)
        if listening is not None:
            cleanup.callback(listening.listener.close)
        clash = Clash(workers, reloader, made.crew.settings.wishes, name, state, listening)
        inquiry = Inquiry(workers, made.lane.prefix_of, _left_alone(made).of_record)
        return serve_api(endpoint.listener, report.document, reloader.answer, inquiry, clash, desk), told
    except SystemChangeError as error:
        return contextlib.nullcontext(), [str(error)]


def _left_alone(made: Made) -> LeftAlone:
    plan = made.plan
    routes, versions = tuple(plan.settings.routes), tuple(each.version for each in plan.addresses)
    return LeftAlone(plan.name, routes, plan.scope, plan.identity.uid, made.lane.prefix_of, versions)


def _names(crew: Crew, plan: Plan, reloader: Reloader) -> NameDuties:
    async def renew(resolvers: tuple[str, ...]) -> None:
        crew.settings = dataclasses.replace(crew.settings, resolvers=resolvers)
        if asks_system(reloader.sources.config.dns):
            await reloader.again()

    return NameDuties(
        plan.sources.config.dns,
        plan.name,
        crew.questions,
        routes=plan.settings.routes,
        uid=plan.identity.uid,
        mark=plan.settings.mark,
        resolvers=crew.settings.resolvers,
        renew=renew,
        scope=plan.scope,
    )
