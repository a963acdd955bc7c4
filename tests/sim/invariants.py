"""What must hold of a connection after every step, whatever its peer, its path and its owner do."""

from collections.abc import Iterator

from tunproxy.flow.budget import Budget
from tunproxy.tcp.assembler import MAX_PIECES, PIECE_COST
from tunproxy.tcp.autotune import footprint
from tunproxy.tcp.connection import SND_BUF, Connection
from tunproxy.tcp.deadline import next_deadline
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.segments import OVERDRAFT
from tunproxy.tcp.seq import seq_sub
from tunproxy.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    NAMES,
    TIME_WAIT,
    TRANSITIONS,
)

SENDING = (ESTABLISHED, CLOSE_WAIT, FIN_WAIT_1, CLOSING, LAST_ACK)


def violations(conn: Connection) -> Iterator[str]:
    """Yield what is wrong with a connection that has just sent all it may, and whose owner took its turn."""
    flight, length = conn.flight_size, conn.buffer.length
    most = conn.settings.rcv_buf_most + OVERDRAFT
    if conn.rcv_queued != sum(len(piece) for piece in conn.rcv_queue):
        yield "rcv_queued is wrong"
    if conn.rcv_queued > most:
        yield f"{conn.rcv_queued} octets wait for the application"
    assembler = conn.assembler
    if assembler is not None and (assembler.held > most or len(assembler.blocks(1000)) > MAX_PIECES):
        yield "too much is held ahead of a gap"
    if length > SND_BUF + conn.snd_mss:
        yield f"{length} octets wait to be sent"
    if conn.state == CLOSED and next_deadline(conn) >= 0:
        yield "a timer runs after the end"
    if conn.state == TIME_WAIT and conn.time_wait_at < 0:
        yield "TIME-WAIT would last for ever"
    if conn.ack_now:
        yield "an acknowledgment is due and was not sent"
    if conn.state < ESTABLISHED:
        return
    if seq_sub(conn.rcv_adv, conn.rcv_nxt) < 0:
        yield "rcv_nxt passed the window"
    if conn.state not in SENDING:
        return
    recovery = conn.recovery
    if recovery is not None:
        yield from _violations_in_recovery(conn, recovery)
    if flight > length + (1 if conn.fin_sent else 0):
        yield f"{flight} octets under way of {length}"
    if conn.congestion.cwnd < conn.snd_mss:
        yield f"the congestion window is {conn.congestion.cwnd}"
    if flight > 0:
        if conn.rto_at < 0:
            yield "octets are under way and no timer runs"
    elif (length > 0 or (conn.fin_queued and not conn.fin_sent)) and conn.persist_at < 0 > conn.resume_at:
        yield "octets wait and no timer runs"


def overdrafts(conn: Connection, budget: Budget, promise: int) -> Iterator[str]:
    """Yield where a host with one connection holds more than its budget and the window it has promised.

    promise is the widest window that was ever open, with what waited before it.
    """
    held = int(footprint(conn))
    if budget.used != held:
        yield f"the budget knows of {budget.used} octets, {held} are held"
    most = budget.limit + promise + OVERDRAFT + MAX_PIECES * PIECE_COST + conn.snd_mss
    if held > most:
        yield f"{held} octets are held, with a budget of {budget.limit} and {promise} promised"
    if promise > conn.settings.rcv_buf_most + OVERDRAFT:
        yield f"a window of {promise} octets was promised"


def _violations_in_recovery(conn: Connection, recovery: Recovery) -> Iterator[str]:
    flight = conn.flight_size
    marks = [seq_sub(mark, conn.snd_una) for mark in (recovery.rtx_nxt, recovery.lost_until, conn.snd_nxt)]
    if marks != sorted(marks) or marks[0] < 0:
        yield f"rtx_nxt, lost_until, snd_nxt are {marks} behind snd_una"
    edges = [seq_sub(edge, conn.snd_una) for run in recovery.rack.lost for edge in (run.seq, run.end)]
    if edges != sorted(edges) or (edges and not 0 <= edges[0] < edges[-1] <= flight):
        yield f"what is lost lies at {edges} of {flight}"
    if recovery.rack.lost_octets != sum(edges[1::2]) - sum(edges[::2]):
        yield "lost_octets is wrong"
    if recovery.scoreboard.sacked > flight:
        yield "more arrived than was sent"


def _closure() -> set[tuple[int, int]]:
    """Return the moves that one event can make: several of the table in a row, or to CLOSED."""
    found = {(int(before), int(after)) for before, after, _ in TRANSITIONS}
    while True:
        more = {(a, d) for a, b in found for c, d in found if b == c} | found
        if more == found:
            return found | {(state, int(CLOSED)) for state in range(len(NAMES))}
        found = more


REACHABLE = _closure()


REACHABLE = _closure()
