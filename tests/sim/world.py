"""Two hosts, a link each way, and a clock that jumps from event to event.

Everything follows from a ``Scenario``; ``run`` plays it to its end and checks, after each step, what must
always hold. The returned ``Outcome`` holds a checksum of every frame and its time, so that two runs can be
compared. A ``Broken`` invariant says where it happened, with the last packets.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.sim.apps import App, AppPlan
from tests.sim.invariants import REACHABLE, overdrafts, violations
from tests.sim.link import Link, LinkPlan
from tests.sim.marks import Marks
from tests.sim.timeline import CLIENT, SERVER, START, Outcome, Timeline, replay_line
from tests.sim.timeline import Broken as Broken
from tunproxy.flow.budget import Budget
from tunproxy.tcp.active import open_active
from tunproxy.tcp.autotune import footprint
from tunproxy.tcp.connection import (
    CLOSE_NAMES,
    ECN_ACCEPTED,
    FINISHED,
    RESET_BY_PEER,
    TIMED_OUT,
    Connection,
    Settings,
)
from tunproxy.tcp.deadline import next_deadline, on_deadline
from tunproxy.tcp.passive import accept, open_passive, refuse
from tunproxy.tcp.receive import receive
from tunproxy.tcp.seq import seq_sub
from tunproxy.tcp.state import (
    CLOSED,
    ESTABLISHED,
    NAMES,
)
from tunproxy.tcp.transmit import transmit
from tunproxy.wire.ip import TCP, Endpoints, IpView, parse_ip
from tunproxy.wire.reasons import OK
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import ACK, RST, SYN, Segment, emit_rst_for, parse_tcp
from tunproxy.wire.vnet import VNET_LEN, is_verified

TIME_LIMIT = 3600 * 1_000_000
EVENT_LIMIT = 2_000_000


@dataclass(frozen=True)
class HostPlan:
    """One end: its engine's settings, its initial numbers, how quickly it wakes up, and what it runs."""

    app: AppPlan
    rcv_buf: int = 1 << 20
    rcv_buf_most: int = 0  # 0: it does not grow
    memory: int = 1 << 30  # budget of the host, in octets
    cwnd: int = 0
    tso: bool = True
    mtu: int = 1500
    iss: int = 0
    ts_offset: int = 0
    latency: int = 0  # frames that arrive within so many microseconds are processed in one batch
    answer_after: int = 0  # the server's target answers so long after the SYN
    refuses: bool = False
    ecn: int = ECN_ACCEPTED
    tso_ecn: bool = False


@dataclass(frozen=True)
class Scenario:
    """Everything that a run depends on. hosts and links are the client's, then the server's."""

    seed: int
    hosts: tuple[HostPlan, HostPlan]
    links: tuple[LinkPlan, LinkPlan]
    ipv6: bool = False


class Host(FrameSink):
    """One engine, its application, and the loop that drives both as the packet path does."""

    def __init__(self, world: Timeline, side: int, plan: HostPlan, ends: Endpoints) -> None:
        self.side = side
        self.plan = plan
        self.ends = ends
        self.settings = Settings(
            plan.mtu,
            plan.rcv_buf,
            plan.cwnd,
            plan.tso,
            plan.tso,
            rcv_buf_most=plan.rcv_buf_most,
            has_tso_ecn=plan.tso_ecn,
            ecn=plan.ecn,
        )
        self.marks = Marks()
        self.budget = Budget(plan.memory)
        self._charged = 0
        self._promise = 0  # the widest window that was ever open
        self.conn: Connection | None = None
        self.app: App | None = None
        self.link: Link
        self._world = world
        self._view = IpView()
        self._seg = Segment()
        self._inbox: list[bytes] = []
        self._state = -1
        self._edge = -1  # the right edge that was advertised last
        self._wake_at = -1

    # frames out

    def write(self, frame: bytes) -> None:
        world = self._world
        world.note(self.side, frame)
        self._check_window(frame)
        if not world.is_attacked:
            for what in self.marks.sent(frame):
                raise world.broken(what)
        self.link.send(frame, world.now)

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        self.write(header + b"".join(parts))

    def _check_window(self, frame: bytes) -> None:
        """Hold us to it that an edge once advertised does not move left (RFC 9293 §3.8.6)."""
        conn = self.conn
        at = VNET_LEN + (40 if self.ends.is_ipv6 else 20)
        ack, flags, wnd = struct.unpack_from("!IxBH", frame, at + 8)
        if flags & (RST | SYN) or conn is None:
            return  # a SYN that is sent again has no scale, and may have to say less
        step = conn.rcv_shift
        edge = (ack + (wnd << step)) & 0xFFFF_FFFF
        if self._edge >= 0:
            moved = seq_sub(edge, self._edge)
            # RFC 7323 §2.4 leaves less than a step, where more was promised than there is room for now
            is_short = seq_sub(self._edge, conn.rcv_nxt) > conn.rcv_buf - conn.rcv_queued
            slack = (1 << step) - 1 if is_short else 0
            self._world.check(moved >= -slack, f"the window shrank by {-moved}")
        self._edge = edge

    # frames in, time, and what follows from them

    def open(self, now: int) -> None:
        self.app = App(self.plan.app, now)
        self.conn = open_active(self.ends, self.settings, self.plan.iss, self.plan.ts_offset, now, self)
        self._settle(now)

    def on_arrival(self, frame: bytes) -> None:
        if not self._inbox:
            self._world.at(self._world.now + self.plan.latency, self._on_batch)
        self._inbox.append(frame)

    def _on_batch(self, now: int) -> None:
        inbox, self._inbox = self._inbox, []
        for frame in inbox:
            reason = parse_ip(frame, VNET_LEN, len(frame), self._view)
            if reason == OK:
                if self._view.protocol != TCP:
                    continue
                reason = parse_tcp(frame, self._view, is_verified(frame), self._seg)
            if reason == OK:
                self._on_segment(now)
            else:
                self._world.on_refused(frame, reason)
        self._settle(now)

    def _on_segment(self, now: int) -> None:
        seg, conn = self._seg, self.conn
        if conn is None:
            if seg.flags & SYN:
                self.marks.hear_first(seg)
            if self.side == SERVER and seg.flags & (SYN | ACK | RST) == SYN:
                self._on_syn(now)
            elif not seg.flags & RST:
                self.write(emit_rst_for(self.settings.scratch, self.ends, seg))
            return
        if conn.state >= ESTABLISHED and not seg.flags & (SYN | RST) and not self._world.is_attacked:
            beyond = seq_sub(seg.end, conn.rcv_adv)
            self._world.check(beyond <= 1, f"a segment ends {beyond} octets behind the window")
        self.marks.before(conn, seg)
        receive(conn, seg, now, self)
        if not self._world.is_attacked:
            for what in self.marks.after(conn, seg):
                raise self._world.broken(what)
        self._look()

    def _on_syn(self, now: int) -> None:
        plan = self.plan
        self.conn = open_passive(self.ends, self.settings, self._seg, plan.iss, plan.ts_offset)
        self._world.at(now + plan.answer_after, self._on_answer)

    def _on_answer(self, now: int) -> None:
        conn = self.conn
        assert conn is not None
        if conn.state == CLOSED:
            return
        if self.plan.refuses:
            refuse(conn, self)
        else:
            self.app = App(self.plan.app, now)
            accept(conn, now, self)
        self._settle(now)

    def _on_wake(self, now: int) -> None:
        if now != self._wake_at:
            return  # there was an earlier one, or the deadline moved
        self._wake_at = -1
        conn = self.conn
        assert conn is not None
        due = next_deadline(conn)
        if 0 <= due <= now:
            on_deadline(conn, now, self)
        self._settle(now)

    def _settle(self, now: int) -> None:
        conn = self.conn
        if conn is None:
            return
        due = -1
        if self.app is not None:
            budget = self.budget
            due = self.app.step(conn, now, self, int(budget.level), budget.limit - budget.used)
        self._look()
        if conn.state != CLOSED:
            transmit(conn, now, self)
            self._look()
            self._check()
            self._charge()
            deadline = next_deadline(conn)
            if deadline >= 0 and (due < 0 or deadline < due):
                due = deadline
            if due >= 0 and (self._wake_at < now or due < self._wake_at):
                self._wake_at = max(due, now)
                self._world.at(self._wake_at, self._on_wake)

    def _look(self) -> None:
        assert self.conn is not None
        state = int(self.conn.state)
        if state != self._state:
            if self._state >= 0:
                self._world.outcome.moves.add((self._state, state))
            self._state = state

    def _charge(self) -> None:
        """Account for what the connection holds, as a flow does when it settles."""
        conn, budget = self.conn, self.budget
        assert conn is not None
        self._promise = max(self._promise, seq_sub(conn.rcv_adv, conn.rcv_nxt) + conn.rcv_queued)
        held = footprint(conn)
        budget.charge(held - self._charged)
        self._charged = held
        for what in overdrafts(conn, budget, self._promise):
            raise self._world.broken(what)

    def _check(self) -> None:
        assert self.conn is not None
        for what in violations(self.conn):
            raise self._world.broken(what)


class World(Timeline):
    """Both hosts, and the links between them."""

    def __init__(
        self, scenario: Scenario, *, log: list[str] | None = None, is_attacked: bool = False
    ) -> None:
        super().__init__(log)
        self.is_attacked = is_attacked  # by segments that no host of ours sent
        self._scenario = scenario
        addresses = (bytes((10, 0, 0, 2)), bytes((192, 0, 2, 1)))
        if scenario.ipv6:
            addresses = (bytes((0xFD, *bytes(14), 2)), bytes((0x20, 0x01, *bytes(13), 1)))
        ports = (50000, 80)
        self.hosts = []
        for side, plan in enumerate(scenario.hosts):
            other = 1 - side
            ends = Endpoints(addresses[side], addresses[other], ports[side], ports[other], TCP)
            self.hosts.append(Host(self, side, plan, ends))
        for side, link in enumerate(scenario.links):
            self.hosts[side].link = Link(link, scenario.seed * 2 + side, self._deliver_to(1 - side))

    def _deliver_to(self, side: int) -> Callable[[bytes, int], None]:
        def deliver(frame: bytes, at: int) -> None:
            self.at(at, lambda now: self.hosts[side].on_arrival(frame))

        return deliver

    def title(self) -> list[str]:
        seed = self._scenario.seed
        lines = [f"seed {seed}", replay_line("tests/sim/test_seeds.py", f"--seed {seed}")]
        for host in self.hosts:
            conn = host.conn
            if conn is not None:
                name, why = NAMES[conn.state], CLOSE_NAMES[conn.closed_why]
                lines.append(f"{'client' if host.side == CLIENT else 'server'}: {name}, {why}")
        return lines

    def run(self) -> Outcome:
        """Play the scenario to its end."""
        self.hosts[CLIENT].open(self.now)
        limit = self.now + TIME_LIMIT
        for _ in range(EVENT_LIMIT):
            if not self.events:
                break
            self.step(limit)
            if not self.outcome.elapsed and all(
                host.app is not None and host.app.is_complete for host in self.hosts
            ):
                self.outcome.elapsed = self.now - START
        else:
            raise self.broken("it takes too many steps")
        self._check_end()
        return self.outcome

    def _check_end(self) -> None:
        client, server = self.hosts
        assert client.conn is not None
        self.check(client.conn.state == CLOSED, "the client has not ended")
        self.check(server.conn is None or server.conn.state == CLOSED, "the server has not ended")
        for host in self.hosts:
            conn = host.conn
            self.outcome.why.append("" if conn is None else CLOSE_NAMES[conn.closed_why])
            self.outcome.retransmits.append(0 if conn is None else conn.retransmits)
            self.outcome.lost += host.link.lost
            self.outcome.corrupted += host.link.corrupted
            self.outcome.marked += host.link.marked
            self.outcome.echoed += host.marks.echoed
            self.outcome.reductions += host.marks.reductions
        moves = self.outcome.moves - REACHABLE
        self.check(not moves, f"moves that are not in the table: {moves}")
        if self._scenario.hosts[SERVER].refuses and client.app is not None and not client.app.aborted:
            self.check(client.conn.closed_why in (RESET_BY_PEER, TIMED_OUT), "the client was not refused")
            return
        if any(host.app is None or host.app.aborted for host in self.hosts):
            return
        if server.link.lost == server.link.sent:  # nobody answers: then the client gives up, and it is told
            self.check(client.conn.closed_why == TIMED_OUT, "the client did not notice the silence")
            return
        for host in self.hosts:
            app, conn = host.app, host.conn
            assert app is not None
            assert conn is not None
            name = "client" if host.side == CLIENT else "server"
            self.check(app.sent == len(app.plan.sends), f"the {name} could not send everything")
            self.check(app.is_complete, f"the {name} has {app.received} of {len(app.plan.expects)} octets")
        for host, other in ((client, server), (server, client)):
            assert host.conn is not None
            assert other.conn is not None
            if host.conn.closed_why != FINISHED:  # its last acknowledgment came after the peer had forgotten
                self.check(
                    host.conn.closed_why == RESET_BY_PEER and other.conn.closed_why == FINISHED,
                    f"it ended {CLOSE_NAMES[host.conn.closed_why]}",
                )


def run(scenario: Scenario, *, log: list[str] | None = None) -> Outcome:
    """Play a scenario; log gets one line per frame where it is given."""
    return World(scenario, log=log).run()
