"""Hearing a client out before it is decided where its flow goes: its first octets may name the host it means.

The client is answered before anybody knows whether the target is there; that is the price, and only flows
pay it for which a rule asks for a name that nobody knows. Nothing of what the client says is lost: it waits
in rcv_queue, and goes where the flow goes.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.tcp.state import CLOSED, SYN_RECEIVED, has_all_data

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

# our choices
HEARING: Final[i64] = 30_000  # µs after the handshake that a client has for its first words
MOST_HEARD: Final[i64] = 16_384  # octets that are looked at


@final
@mypyc_attr(native_class=True)
class Hearing:
    """What is still to be decided about a flow."""

    def __init__(self, info: FlowInfo) -> None:
        self.info: Final = info
        self.until: Micros = -1  # from the end of the handshake on
        self.heard: i64 = 0  # octets that the decider has seen


def hear(flow: "TcpFlow", hearing: Hearing, now: Micros) -> None:
    """Ask for a decision if there is something new to decide by, or no more to wait for; and act on it."""
    conn = flow.conn
    if conn.state == SYN_RECEIVED or conn.state == CLOSED:
        return
    if hearing.until < 0:
        hearing.until = now + HEARING
    verdict: Verdict | None = None
    dispatcher = flow.context.dispatcher
    if conn.rcv_queued > hearing.heard:
        hearing.heard = conn.rcv_queued
        verdict = dispatcher.decide_sniffed(hearing.info, b"".join(conn.rcv_queue))
    if verdict is None and (now >= hearing.until or hearing.heard >= MOST_HEARD or has_all_data(conn.state)):
        verdict = dispatcher.decide_sniffed(hearing.info, b"")
    if verdict is not None:
        flow.hearing = None
        if flow.life is not None:
            flow.life.verdict = verdict
        dispatcher.send_off(flow, hearing.info, verdict, now)
