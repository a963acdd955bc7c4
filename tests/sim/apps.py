"""What an application does with a connection: how it sends, reads, pauses, closes or gives up."""

import hashlib
from dataclasses import dataclass

from tunproxy.flow.budget import CALM, FULL
from tunproxy.tcp.active import abort, close, queue, took
from tunproxy.tcp.autotune import FLOOR, give_up_ahead, grow, restore, scant_room, shrink
from tunproxy.tcp.connection import FINISHED, Connection, send_room
from tunproxy.tcp.state import CLOSED, has_all_data
from tunproxy.wire.sink import FrameSink

WHEN_SENT, WHEN_DONE, AT_END = range(3)


@dataclass(frozen=True)
class AppPlan:
    """One side of a conversation.

    gates are (received, may_send): having received so many octets it may have sent so many in all, so a bulk
    transfer has one gate and a dialogue many. It reads read_size octets every read_every microseconds, after
    an idle start of read_from; 0 means all and at once. It closes WHEN_SENT everything, WHEN_DONE (has
    received everything as well), or AT_END (has seen the other's). abort_at and patience are times after
    which it resets the connection, patience counting from the last progress; 0 means never.
    """

    sends: bytes
    expects: bytes
    gates: tuple[tuple[int, int], ...]
    write_size: int = 65536
    read_size: int = 0
    read_every: int = 0
    read_from: int = 0
    closes: int = WHEN_DONE
    abort_at: int = 0
    patience: int = 0


class App:
    """An application at work; ``step`` is called whenever its connection or its time may have changed."""

    def __init__(self, plan: AppPlan, now: int) -> None:
        self.plan = plan
        self.sent = 0
        self.received = 0
        self.digest = hashlib.sha256()  # of what was received
        self.saw_end = False
        self.aborted = False
        self._read_at = now + plan.read_from
        self._abort_at = now + plan.abort_at if plan.abort_at else 0
        self._progress_at = now

    @property
    def is_complete(self) -> bool:
        return self.received == len(self.plan.expects) and self.saw_end

    def step(self, conn: Connection, now: int, out: FrameSink, level: int = CALM, left: int = 1 << 60) -> int:
        """Do what can be done now; return when to be called next, -1 for when something happens.

        level is that of the memory: where it is short, it does as flows do. left is how many octets of it are
        left, which a flow never takes at once, as real budgets are larger than its reads; ours are not.
        """
        plan = self.plan
        if conn.state == CLOSED:
            self._read(conn, now, everything=True)
            return -1
        if 0 < self._abort_at <= now or 0 < plan.patience <= now - self._progress_at:
            self.aborted = True
            abort(conn, out)
            return -1
        before = (self.sent, self.received, self.saw_end)
        self._read(conn, now, everything=False)
        if level != CALM:
            shrink(conn)
            if conn.assembler is not None and (conn.assembler.held > FLOOR or level == FULL):
                give_up_ahead(conn)
        elif conn.rcv_buf < conn.settings.rcv_buf:
            restore(conn)
        elif self.received > before[1]:
            grow(conn, now)
        self._write(conn, level != CALM, left)
        self._maybe_close(conn)
        if before != (self.sent, self.received, self.saw_end):
            self._progress_at = now
        due = [self._abort_at] if self._abort_at else []
        if plan.patience:
            due.append(self._progress_at + plan.patience)
        if conn.rcv_queue:
            due.append(max(self._read_at, now + 1))
        return min(due, default=-1)

    def _read(self, conn: Connection, now: int, *, everything: bool) -> None:
        plan = self.plan
        if conn.rcv_queue and (everything or now >= self._read_at):
            size = conn.rcv_queued if everything or not plan.read_size else plan.read_size
            piece = b"".join(bytes(part) for part in conn.rcv_queue)
            assert len(piece) == conn.rcv_queued
            conn.rcv_queue[:] = [piece[size:]] if size < len(piece) else []
            piece = piece[:size]
            assert piece == plan.expects[self.received : self.received + len(piece)], "the stream is wrong"
            self.received += len(piece)
            self.digest.update(piece)
            self._read_at = now + plan.read_every
            took(conn, len(piece))
        if not conn.rcv_queue and (has_all_data(conn.state) or conn.closed_why == FINISHED):
            self.saw_end = True

    def _write(self, conn: Connection, is_short: bool, left: int) -> None:
        plan = self.plan
        allowed = max((most for received, most in plan.gates if received <= self.received), default=0)
        while self.sent < allowed and not conn.fin_queued:
            room = scant_room(conn) if is_short else send_room(conn)
            size = min(allowed - self.sent, plan.write_size, room)
            if size <= 0 or left <= 0:
                return
            size = min(size, max(left, conn.snd_mss))
            left -= size
            queue(conn, plan.sends[self.sent : self.sent + size])
            self.sent += size

    def _maybe_close(self, conn: Connection) -> None:
        plan = self.plan
        if conn.fin_queued or self.sent < len(plan.sends):
            return
        if (
            plan.closes == WHEN_SENT
            or (plan.closes == WHEN_DONE and self.received == len(plan.expects))
            or self.saw_end
        ):
            close(conn)
