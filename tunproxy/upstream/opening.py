"""Runs the coroutines of upstreams that hold a conversation first, and tells the flows how they ended.

The packet path asks from inside ``select()``; the coroutine runs once that returns, which is why the loop
is asked to yield. Whatever an upstream does wrong stays here: every request is answered once, or cancelled,
and nothing that a coroutine raises reaches the loop.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tunproxy import clock
from tunproxy.blame import failure
from tunproxy.errors import TunproxyError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.ports import DatagramRequest, Opener, OpenRequest, SocketMaker
from tunproxy.flow.verdict import DIAL, FlowInfo, Verdict
from tunproxy.logs.about import about
from tunproxy.logs.faults import Faults
from tunproxy.upstream.answers import check_stream, discard_stream, socket_in
from tunproxy.upstream.base import REFUSED, Opened, OpenUpstream, Unreached, Upstream
from tunproxy.upstream.complaints import Complaints
from tunproxy.upstream.datagram_opening import REFUSALS, DatagramOpenings, is_per_target
from tunproxy.upstream.deferred import DeferredUpstream
from tunproxy.upstream.dialer import AsyncDialer, NotingDialer
from tunproxy.upstream.failures import (
    errno_of,
    is_the_upstreams,
    learn_from,
    learn_from_success,
    words_of,
)
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.upstream.types import URL_NAME

# our choices
TIME_LIMIT: Final = 30.0  # seconds: longer than a handshake through two slow proxies, shorter than patience
CANCEL_LIMIT: Final = 1.0  # seconds that cancelled coroutines get to clean up when we end

_log: Final = logging.getLogger(__name__)


class Yielding(Protocol):
    """The part of the packet path that lets asyncio have its turn."""

    def yield_loop(self) -> None:
        """Have the select() that is running return soon."""


@dataclass(frozen=True)
class OpenerStatistics:
    """What became of the flows so far. faults counts, by upstream, what should never have happened."""

    pending: int
    opened: int
    failed: int
    faults: Mapping[str, int]


class AsyncOpener(Opener):
    """Opens upstreams on an asyncio loop. time_limit is in seconds, for each flow.

    on_suspect is told of failures that may be the upstream's own. It must not raise.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dataplane: Yielding,
        sockets: SocketMaker | None = None,
        *,
        time_limit: float = TIME_LIMIT,
        on_suspect: Callable[[Upstream, BaseException], None] | None = None,
    ) -> None:
        self._loop: Final = loop
        self._dataplane: Final = dataplane
        self._dialer: Final = AsyncDialer(loop, sockets or KernelSockets(0, ""))
        self._time_limit: Final = time_limit
        self._on_suspect: Final = on_suspect
        self._pending: Final[dict[OpenRequest, _Opening]] = {}  # neither answered nor cancelled
        self._tasks: Final[set[asyncio.Task[None]]] = set()  # these and those that still clean up
        self._is_closed = False
        self._opened = 0
        self._failed = 0
        self.faults: Final = Faults()  # also of those who never come to be opened
        self._datagrams: Final = DatagramOpenings(loop, self._dialer, self.explain, self.faults, time_limit)
        self._complaints: Final = Complaints(loop, _log.warning)

    def open(self, info: FlowInfo, verdict: Verdict, request: OpenRequest) -> None:
        if self._is_closed:
            request.failed(REFUSED)
            return
        opening = _Opening(info, verdict, request)
        opening.timer = self._loop.call_later(self._time_limit, self._on_time_limit, opening)
        self._pending[request] = opening
        opening.task = self._loop.create_task(self._run(opening), name=f"open {info}")
        self._tasks.add(opening.task)
        opening.task.add_done_callback(self._tasks.discard)
        self._dataplane.yield_loop()

    def cancel(self, request: OpenRequest) -> None:
        opening = self._pending.get(request)
        if opening is not None and self._settle(opening) and not self._loop.is_closed():
            opening.stop()
            self._dataplane.yield_loop()

    def close(self) -> None:
        """Cancel everything; no request is answered after this. Runs the loop where it does not run.

        Ways for datagrams end, which their users are told before.
        """
        self._is_closed = True
        self._complaints.close()
        for opening in list(self._pending.values()):
            self._settle(opening)
        self._datagrams.close()
        tasks = self._tasks | self._datagrams.tasks
        for task in tasks:
            task.cancel()
        if tasks and not self._loop.is_running():
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_LIMIT))

    def statistics(self) -> OpenerStatistics:
        """Return the counts so far."""
        pending = len(self._pending) + self._datagrams.pending
        opened = self._opened + self._datagrams.opened
        return OpenerStatistics(pending, opened, self._failed, dict(self.faults.counts))

    def is_undecided(self, verdict: Verdict) -> bool:
        return isinstance(verdict.opener, DeferredUpstream)

    def is_per_target(self, verdict: Verdict) -> bool:
        return is_per_target(verdict)

    def open_datagrams(self, info: FlowInfo, verdict: Verdict, request: DatagramRequest) -> None:
        self._datagrams.open(info, verdict, request)
        self._dataplane.yield_loop()

    def close_datagrams(self, request: DatagramRequest) -> None:
        if self._datagrams.close_one(request):
            self._dataplane.yield_loop()

    async def _run(self, opening: "_Opening") -> None:
        """Let the upstream open the flow, and hand on what it answers."""
        answer: object = None
        try:
            answer = await self._answer(opening)
            opened = answer if isinstance(answer, Opened) else Opened(socket_in(answer))
            check_stream(opened, self._loop)
        except BaseException as error:  # a plugin's sys.exit() must not end the process either
            discard_stream(answer)
            if opening.request in self._pending:
                number = self.explain(opening.info, opening.verdict, error)
                self._settle(opening)
                if opening.verdict.kind not in REFUSALS:
                    name, took = opening.verdict.upstream, clock.now() - opening.began_at
                    opening.request.tried(name, took, words_of(error))
                opening.request.failed(number)
            elif isinstance(error, asyncio.CancelledError):
                raise
            return
        if self._settle(opening):
            self._opened += 1
            if isinstance(opening.verdict.opener, Upstream):
                learn_from_success(opening.verdict.opener, opening.info)
            opening.request.opened(opened.sock, opened.rest, opened.codec)
        else:
            opened.sock.close()  # too late: nobody wants it any more

    async def _answer(self, opening: "_Opening") -> object:
        """Let the upstream open the flow: the one that is chosen, where that had to be waited for."""
        info, dialer = opening.info, NotingDialer(self._dialer, opening.request.tried)
        upstream = opening.verdict.opener
        while isinstance(upstream, DeferredUpstream):
            chosen = opening.verdict = await upstream.settled(info)
            opening.request.decided(chosen)
            if not isinstance(chosen.opener, DeferredUpstream):
                return await upstream.go(info, chosen, dialer)
            upstream = chosen.opener
        if not isinstance(upstream, OpenUpstream):
            raise TypeError(f"{upstream!r} is no OpenUpstream")
        return await upstream.open(info, dialer)

    def converse(self, info: FlowInfo, verdict: Verdict) -> Conversation:
        upstream = verdict.opener
        if not isinstance(upstream, ProxyUpstream):
            raise TypeError(f"{upstream!r} is no ProxyUpstream")
        conversation = upstream.converse(info)
        if not isinstance(conversation, Conversation):
            raise TypeError(f"converse() returned {conversation!r}, not a conversation")
        return conversation

    def explain(self, info: FlowInfo, verdict: Verdict, error: BaseException) -> int:
        self._failed += 1
        name = verdict.upstream
        is_known = is_the_upstreams(error)
        if is_known and _is_by_upstream(verdict):
            self._complain(str(info), name, words_of(error), verdict.why)
        elif is_known or isinstance(error, (OSError, EOFError)):
            fields = about(flow=info, upstream=name, rule=verdict.why)
            _log.info("%s: upstream %s: %s", info, name, words_of(error), extra=fields)
        else:
            self.faults.take(info, name, error, rule=verdict.why)
        self._note(verdict, error)
        return errno_of(error)

    def _note(self, verdict: Verdict, error: BaseException) -> None:
        """Keep what the failure says of the upstream."""
        upstream = verdict.opener
        if isinstance(upstream, Upstream):
            learn_from(upstream, error)
            if self._on_suspect is not None and is_the_upstreams(error):
                self._on_suspect(upstream, error)

    def unreached(self, info: FlowInfo, verdict: Verdict, error: int) -> int:
        """Tell people that the proxy of a verdict cannot be dialled; return what the client is told."""
        who = verdict.opener.dialled if isinstance(verdict.opener, ProxyUpstream) else ""
        why = f"cannot reach the proxy: {os.strerror(error).lower()}"
        return self.explain(info, verdict, Unreached(why, error, who=who))

    def on_trouble(self, info: FlowInfo, verdict: Verdict, why: str) -> None:
        self._complain(str(info), verdict.upstream, why, verdict.why)

    def on_spoiled(self, upstream: str, error: BaseException) -> None:
        words = words_of(error)
        if not isinstance(error, (TunproxyError, OSError, EOFError)):  # the codec's own mistake
            words = failure(error, "")
        self._complain("a flow was cut", upstream, f"its stream was spoiled: {words}")

    def _complain(self, what: str, upstream: str, why: str, rule: str = "") -> None:
        """Tell people what failed: the same of one upstream once, and then how often."""
        who = "the upstream" if upstream == URL_NAME else f"upstream {upstream}"
        if self._complaints.take(what, f"{who}: {why}", upstream, rule):
            self._dataplane.yield_loop()

    def _on_time_limit(self, opening: "_Opening") -> None:
        if opening.request in self._pending:
            error = TimeoutError(f"not open after {self._time_limit:g} s")
            number = self.explain(opening.info, opening.verdict, error)
            self._settle(opening)
            took = clock.now() - opening.began_at
            opening.request.tried(opening.verdict.upstream, took, words_of(error))
            opening.request.failed(number)
        opening.stop()

    def _settle(self, opening: "_Opening") -> bool:
        """Make sure that a request is answered or cancelled only once; return whether it still may be."""
        if self._pending.pop(opening.request, None) is None:
            return False
        if opening.timer is not None:
            opening.timer.cancel()
        return True


def _is_by_upstream(verdict: Verdict) -> bool:
    """Tell whether somebody stands between us and the target, whose fault a failure may be."""
    return verdict.kind != DIAL and verdict.kind not in REFUSALS


class _Opening:
    """One request under way."""

    def __init__(self, info: FlowInfo, verdict: Verdict, request: OpenRequest) -> None:
        self.info: Final = info
        self.verdict = verdict  # or the one that it has turned out to be
        self.request: Final = request
        self.began_at: Final = clock.now()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Cancel the coroutine."""
        if self.task is not None:
            self.task.cancel()
