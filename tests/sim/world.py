"""Two hosts, a link each way, and a clock that jumps from event to event.

Everything follows from a ``Scenario``; ``run`` plays it to its end and checks, after each step, what must
always hold. The returned ``Outcome`` holds a checksum of every frame and its time, so that two runs can be
compared. A ``Broken`` invariant says where it happened, with the last packets.
"""

import heapq
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.sim.apps import App, AppPlan
from tests.sim.invariants import REACHABLE, violations
from tests.sim.link import Link, LinkPlan
from tunproxy.tcp.active import open_active
from tunproxy.tcp.connection import (
    CLOSE_NAMES,
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
CLIENT, SERVER = 0, 1
LETTERS = "FSRP.UEW"


class Broken(AssertionError):
    """Something that must always hold did not."""


@dataclass(frozen=True)
class HostPlan:
    """One end: its engine's settings, its initial numbers, how quickly it wakes up, and what it runs."""

    app: AppPlan
    rcv_buf: int = 1 << 20
    cwnd: int = 0
    tso: bool = True
    mtu: int = 1500
    iss: int = 0
    ts_offset: int = 0
    latency: int = 0  # frames that arrive within so many microseconds are processed in one batch
    answer_after: int = 0  # the server's target answers so long after the SYN
    refuses: bool = False


@dataclass(frozen=True)
class Scenario:
    """Everything that a run depends on. hosts and links are the client's, then the server's."""

    seed: int
    hosts: tuple[HostPlan, HostPlan]
    links: tuple[LinkPlan, LinkPlan]
    ipv6: bool = False


@dataclass
class Outcome:
    """How a run ended; elapsed is when the last octet was delivered, in microseconds."""

    trace: int = 0
    frames: int = 0
    elapsed: int = 0
    retransmits: list[int] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    moves: set[tuple[int, int]] = field(default_factory=set)
    lost: int = 0
    corrupted: int = 0


class Host(FrameSink):
    """One engine, its application, and the loop that drives both as the packet path does."""

    def __init__(self, world: "World", side: int, plan: HostPlan, ends: Endpoints) -> None:
        self.side = side
        self.plan = plan
        self.ends = ends
        self.settings = Settings(plan.mtu, plan.rcv_buf, plan.cwnd, plan.tso, plan.tso)
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
            # RFC 7323 §2.4 leaves less than a step, where memory is short
            slack = (1 << step) - 1 if conn.rcv_queued > conn.settings.rcv_buf // 2 else 0
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
        self._settle(now)

    def _on_segment(self, now: int) -> None:
        seg, conn = self._seg, self.conn
        if conn is None:
            if self.side == SERVER and seg.flags & (SYN | ACK | RST) == SYN:
                self._on_syn(now)
            elif not seg.flags & RST:
                self.write(emit_rst_for(self.settings.scratch, self.ends, seg))
            return
        if conn.state >= ESTABLISHED and not seg.flags & (SYN | RST) and not self._world.is_attacked:
            beyond = seq_sub(seg.end, conn.rcv_adv)
            self._world.check(beyond <= 1, f"a segment ends {beyond} octets behind the window")
        receive(conn, seg, now, self)
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
            due = self.app.step(conn, now, self)
        self._look()
        if conn.state != CLOSED:
            transmit(conn, now, self)
            self._look()
            self._check()
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

    def _check(self) -> None:
        assert self.conn is not None
        for what in violations(self.conn):
            raise self._world.broken(what)


class World:
    """The clock, the queue of events, and both hosts."""

    def __init__(
        self, scenario: Scenario, *, log: list[str] | None = None, is_attacked: bool = False
    ) -> None:
        self.now = 1_000_000
        self.is_attacked = is_attacked  # by segments that no host of ours sent
        self.outcome = Outcome()
        self._scenario = scenario
        self._log = log
        self._recent: list[tuple[int, int, bytes]] = []
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = 0
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

    def at(self, when: int, call: Callable[[int], None]) -> None:
        """Have call(now) made at that time, after what was asked for earlier for the same time."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, call))

    def note(self, side: int, frame: bytes) -> None:
        """Put a frame that a host sent into the trace."""
        outcome = self.outcome
        outcome.trace = zlib.crc32(frame, zlib.crc32(struct.pack("!QB", self.now, side), outcome.trace))
        outcome.frames += 1
        self._recent.append((self.now, side, frame))
        if self._log is not None:
            self._log.append(describe(*self._recent[-1]))
        if len(self._recent) > 60:
            del self._recent[:30]

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            raise self.broken(what)

    def broken(self, what: str) -> Broken:
        seed = self._scenario.seed
        lines = [f"seed {seed} at {(self.now - 1_000_000) / 1e6:.6f} s: {what}"]
        lines.append(f"replay: pytest tests/sim/test_seeds.py --seed {seed}")
        for host in self.hosts:
            conn = host.conn
            if conn is not None:
                name, why = NAMES[conn.state], CLOSE_NAMES[conn.closed_why]
                lines.append(f"{'client' if host.side == CLIENT else 'server'}: {name}, {why}")
        lines += [describe(*packet) for packet in self._recent[-30:]]
        return Broken("\n".join(lines))

    def run(self) -> Outcome:
        """Play the scenario to its end."""
        self.hosts[CLIENT].open(self.now)
        limit = self.now + TIME_LIMIT
        for _ in range(EVENT_LIMIT):
            if not self._events or (self._is_over() and not self._has_frames()):
                break
            self.now, _, call = heapq.heappop(self._events)
            self.check(self.now <= limit, "it takes too long")
            try:
                call(self.now)
            except Broken:
                raise
            except Exception as error:
                raise self.broken(f"{type(error).__name__}: {error}") from error
            if not self.outcome.elapsed and all(
                host.app is not None and host.app.is_complete for host in self.hosts
            ):
                self.outcome.elapsed = self.now - 1_000_000
        else:
            raise self.broken("it takes too many steps")
        self._check_end()
        return self.outcome

    def _is_over(self) -> bool:
        return all(host.conn is not None and host.conn.state == CLOSED for host in self.hosts)

    def _has_frames(self) -> bool:
        return len(self._events) > 0

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


def describe(now: int, side: int, frame: bytes) -> str:
    """Return one line about a frame, in the manner of tcpdump."""
    packet = frame[VNET_LEN:]
    start = 40 if packet[0] >> 4 == 6 else 20
    seq, ack, off, flags, wnd = struct.unpack_from("!IIBBH", packet, start + 4)
    data_off = start + (off >> 4) * 4
    letters = "".join(letter for bit, letter in enumerate(LETTERS) if flags >> bit & 1)
    size = len(packet) - data_off
    (gso_size,) = struct.unpack_from("<H", frame, 4)
    arrow = ">" if side == CLIENT else "<"
    whole = f" gso {gso_size}" if gso_size else ""
    options = packet[start + 20 : data_off].hex()
    return (
        f"{(now - 1_000_000) / 1e6:12.6f} {arrow} [{letters}] seq {seq}:{(seq + size) & 0xFFFF_FFFF} "
        f"ack {ack} win {wnd} len {size}{whole} opts {options}"
    )


def run(scenario: Scenario, *, log: list[str] | None = None) -> Outcome:
    """Play a scenario; log gets one line per frame where it is given."""
    return World(scenario, log=log).run()
