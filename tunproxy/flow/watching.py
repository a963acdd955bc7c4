"""Telling a ``FlowWatcher`` of TCP flows. Where nobody watches, a flow has no life, and pays a comparison."""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.flow.life import (
    CLIENT_GONE,
    CLIENT_RESET,
    CLOSED,
    GIVEN_UP,
    RESET,
    TARGET_RESET,
    FlowLife,
)
from tunproxy.flow.tap import Tap
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.tcp.connection import RESET_BY_PEER, RESET_BY_US, TIMED_OUT

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow


def note_begin(flow: "TcpFlow", info: FlowInfo, verdict: Verdict) -> None:
    """Give the flow a life, if somebody watches."""
    watcher = flow.context.watcher
    if watcher is not None:
        flow.life = FlowLife(watcher.number(), info, verdict, flow.began_at)


def note_open(flow: "TcpFlow", life: FlowLife, now: Micros) -> None:
    """Tell that the way is open, and ask who wants to see what passes."""
    life.opened_at = now
    watcher = flow.context.watcher
    if watcher is not None:
        watcher.opened(life)
        life.tap = watcher.tap(life.info)


def note_end(flow: "TcpFlow", life: FlowLife) -> None:
    """Tell that the flow is over. It has no life after this."""
    flow.life = None
    if life.reason == "":
        life.reason = _reason(flow)
    life.ended_at = max(clock.now(), life.began_at)
    tap = life.tap
    if tap is not None:
        life.tap = None
        tap.close(life.reason)
    watcher = flow.context.watcher
    if watcher is not None:
        watcher.closed(life)


def note_reason(flow: "TcpFlow", reason: str) -> None:
    """Note why the flow is about to end, where that is not known yet."""
    life = flow.life
    if life is not None and life.reason == "":
        life.reason = reason


def show_up(tap: Tap, pieces: list[bytes | memoryview], count: i64) -> None:
    """Show the first count octets of what a client sent."""
    for piece in pieces:
        if count <= 0 or tap.up_left == 0:
            return
        size = i64(len(piece))
        tap.take(True, piece if size <= count else piece[:count])
        count -= size


def _reason(flow: "TcpFlow") -> str:
    """Return why it is over, by how the client's connection ended."""
    why = flow.conn.closed_why
    if why == RESET_BY_PEER:
        return CLIENT_RESET if flow.is_open else GIVEN_UP
    if why == TIMED_OUT:
        return CLIENT_GONE
    if why == RESET_BY_US:
        return TARGET_RESET if flow.is_broken else RESET
    return CLOSED
