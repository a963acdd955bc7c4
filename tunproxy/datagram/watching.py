"""Telling a ``FlowWatcher`` of UDP flows and pings: a flow is a client's port, or identifier, and a target.

Where nobody watches, paths have no life, and a datagram pays a comparison.
"""

import errno
from typing import TYPE_CHECKING, Final

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.flow.life import DROPPED, REFUSED, FlowLife, not_reached
from tunproxy.flow.verdict import DIAL, DROP, FlowInfo, Verdict

if TYPE_CHECKING:
    from tunproxy.datagram.context import Context
    from tunproxy.datagram.path import Path

_ECONNREFUSED: Final = errno.ECONNREFUSED
_DIRECT: Final = Verdict(DIAL, "direct")


def note_path(context: "Context", path: "Path", info: FlowInfo, verdict: Verdict | None, now: Micros) -> None:
    """Give a path that has just been made a life, or what it has led to already."""
    life = begin(context, info, verdict, now)
    if life is None:
        return
    heir = path.carrier.heir(path)
    if heir is None:
        note_end(context, life, REFUSED)
        return
    heir.life = life
    if heir.carrier.is_open:
        note_open(context, life, now)


def begin(context: "Context", info: FlowInfo, verdict: Verdict | None, now: Micros) -> FlowLife | None:
    """Return the life of a flow that begins, None where nobody watches.

    verdict None sends it to its target.
    """
    watcher = context.watcher
    if watcher is None:
        return None
    if verdict is None:
        verdict = context.decisions.always
    return FlowLife(watcher.number(), info, verdict if verdict is not None else _DIRECT, now)


def note_open(context: "Context", life: FlowLife, now: Micros) -> None:
    """Tell that the way is open."""
    life.opened_at = now
    watcher = context.watcher
    if watcher is not None:
        watcher.opened(life)


def note_end(context: "Context", life: FlowLife, reason: str) -> None:
    """Tell that a flow is over."""
    life.reason = reason
    life.ended_at = max(clock.now(), life.began_at)
    watcher = context.watcher
    if watcher is not None:
        watcher.closed(life)


def note_refused(
    context: "Context", info: FlowInfo, verdict: Verdict | None, error: int, now: Micros
) -> None:
    """Tell of a flow that was refused, with an errno, when it began."""
    life = begin(context, info, verdict, now)
    if life is not None:
        note_end(context, life, refusal(life.verdict, error))


def refusal(verdict: Verdict, error: int) -> str:
    """Return why a flow has no way."""
    if verdict.kind == DROP:
        return DROPPED
    return REFUSED if error == 0 or error == _ECONNREFUSED else not_reached(error)
