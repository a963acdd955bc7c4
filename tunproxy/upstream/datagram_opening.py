"""Runs the coroutines that open ways for datagrams, and keeps the ways until they end.

    open ─▶ (open_datagrams) ─▶ opened ─▶ (ended) ─▶ ended        the request's, each at most once
                             └▶ failed            └▶ close_one

Whatever an upstream does wrong stays here, as with streams (``opening``).
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from tunproxy import clock
from tunproxy.flow.ports import DatagramRequest
from tunproxy.flow.verdict import DROP, REJECT, FlowInfo, Verdict
from tunproxy.logs.about import about
from tunproxy.logs.faults import Faults
from tunproxy.upstream.answers import check_way, discard_way
from tunproxy.upstream.base import REFUSED, Dialer, OpenError, Upstream
from tunproxy.upstream.datagrams import DatagramStream, DatagramUpstream, DatagramWay
from tunproxy.upstream.deferred import DeferredUpstream
from tunproxy.upstream.dialer import NotingDialer
from tunproxy.upstream.failures import words_of
from tunproxy.upstream.knowledge import UDP

REFUSALS: Final = (REJECT, DROP)  # kinds of verdicts by which nobody is asked

_log: Final = logging.getLogger(__name__)

Explain = Callable[[FlowInfo, Verdict, BaseException], int]


class DatagramOpenings:
    """Opens ways on an asyncio loop, each within time_limit seconds.

    explain tells people of a failure, and returns the errno that tells the client. faults takes what a way
    does wrong once it is open.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dialer: Dialer,
        explain: Explain,
        faults: Faults,
        time_limit: float,
    ) -> None:
        self._loop: Final = loop
        self._dialer: Final = dialer
        self._explain: Final = explain
        self._faults: Final = faults
        self._time_limit: Final = time_limit
        self._live: Final[dict[DatagramRequest, _Way]] = {}  # being opened, or open
        self.tasks: Final[set[asyncio.Task[None]]] = set()  # of these, and those that still clean up
        self.opened = 0
        self._is_closed = False

    @property
    def pending(self) -> int:
        """How many ways are being opened."""
        return sum(not way.is_open for way in self._live.values())

    def open(self, info: FlowInfo, verdict: Verdict, request: DatagramRequest) -> None:
        """Begin to open; see ``Opener.open_datagrams``."""
        if self._is_closed:
            request.failed(REFUSED)
            return
        way = _Way(info, verdict, request)
        way.timer = self._loop.call_later(self._time_limit, self._on_time_limit, way)
        self._live[request] = way
        way.task = self._loop.create_task(self._run(way), name=f"open {info}")
        self.tasks.add(way.task)
        way.task.add_done_callback(self.tasks.discard)

    def close_one(self, request: DatagramRequest) -> bool:
        """Close the way of request; return whether the loop has something to do for that."""
        way = self._live.get(request)
        if way is None or not self._take(way) or self._loop.is_closed():
            return False
        way.stop()
        return True

    def close(self) -> None:
        """End all ways, and tell those who use them; the tasks are left to whoever closes the loop."""
        self._is_closed = True
        for way in list(self._live.values()):
            if self._take(way):
                if way.is_open:
                    way.request.ended()
                way.stop()

    async def _run(self, way: "_Way") -> None:
        answer: object = None
        try:
            answer = await self._answer(way)
            if not isinstance(answer, Verdict):
                check_way(answer, is_per_target(way.verdict))
        except BaseException as error:  # a plugin's sys.exit() must not end the process either
            discard_way(answer)
            if way.request in self._live:
                self._fail(way, error)
            elif isinstance(error, asyncio.CancelledError):
                raise
            return
        if isinstance(answer, Verdict):
            if self._take(way):
                way.request.decided(answer)
            return
        assert isinstance(answer, (DatagramWay, DatagramStream))
        try:
            await self._hold(way, answer)
        finally:
            answer.close()

    async def _answer(self, way: "_Way") -> object:
        upstream = way.verdict.opener
        if isinstance(upstream, DeferredUpstream):
            way.verdict = await upstream.settled(way.info)
            return upstream.directed(way.info, way.verdict)
        if isinstance(upstream, DatagramUpstream):
            dialer = NotingDialer(self._dialer, partial(self._tried, way))
            return await upstream.open_datagrams(way.info, dialer)
        raise OpenError("it carries no datagrams", lacks=UDP)

    async def _hold(self, way: "_Way", opened: DatagramWay | DatagramStream) -> None:
        """Hand the way over, and wait until it ends or nobody wants it any more."""
        if way.request not in self._live:
            return  # too late
        if way.timer is not None:
            way.timer.cancel()
        way.is_open = True
        self.opened += 1
        upstream = way.verdict.opener
        if isinstance(upstream, Upstream):
            upstream.knowledge.learn(UDP, True)
        if isinstance(opened, DatagramStream):
            way.request.opened_stream(opened.sock, opened.framing, opened.rest, opened.codec)
        else:
            way.request.opened(opened.sock, opened.framing, opened.seal)
        try:
            await opened.ended()
        except Exception as error:
            self._faults.take(way.info, way.verdict.upstream, error, rule=way.verdict.why)
        if self._take(way):
            fields = about(flow=way.info, upstream=way.verdict.upstream, rule=way.verdict.why)
            words = "%s: upstream %s ended the way for datagrams"
            _log.info(words, way.info, way.verdict.upstream, extra=fields)
            way.request.ended()

    def _on_time_limit(self, way: "_Way") -> None:
        if way.request in self._live:
            error = TimeoutError(f"not open after {self._time_limit:g} s")
            self._fail(way, error)
        way.stop()

    def _tried(self, way: "_Way", where: str, took: int, failure: str) -> None:
        if way.request in self._live:  # else it has had its last answer
            way.request.tried(where, took, failure)

    def _fail(self, way: "_Way", error: BaseException) -> None:
        """Tell whoever waits for a way, and people, why there is none."""
        number = self._explain(way.info, way.verdict, error)
        if way.verdict.kind not in REFUSALS:  # who refuses tries nothing
            self._tried(way, way.verdict.upstream, clock.now() - way.began_at, words_of(error))
        self._take(way)
        way.request.failed(number)

    def _take(self, way: "_Way") -> bool:
        """Make sure that a request hears nothing more after its last answer; return whether it still may."""
        if way.timer is not None:
            way.timer.cancel()
        return self._live.pop(way.request, None) is not None


def is_per_target(verdict: Verdict) -> bool:
    """Tell whether ways through a verdict's upstream each lead to one target."""
    upstream = verdict.opener
    return isinstance(upstream, DatagramUpstream) and upstream.is_per_target


class _Way:
    """One way, being opened or open."""

    def __init__(self, info: FlowInfo, verdict: Verdict, request: DatagramRequest) -> None:
        self.info: Final = info
        self.verdict = verdict  # or the one that it has turned out to be
        self.request: Final = request
        self.began_at: Final = clock.now()
        self.is_open = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Cancel the coroutine, which closes the way."""
        if self.task is not None:
            self.task.cancel()
