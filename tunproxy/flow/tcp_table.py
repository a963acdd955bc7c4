"""The table of TCP flows: finds the flow of a segment, opens new ones, answers segments of none.

The key is the raw run of octets that holds addresses and ports (source and target address, source and
target port), so finding a flow costs one slice and one look-up. Whether a SYN may begin a flow is
``admission``'s affair; where it may not, it is answered with a cookie, and the ACK begins the flow.
"""

import socket
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.admission import COOKIE, NO_MEMORY, NOTHING, Admission
from tunproxy.flow.budget import CALM, FULL, MEMORY, Budget
from tunproxy.flow.context import Dispatcher, FlowContext
from tunproxy.flow.counters import Counters
from tunproxy.flow.ending import drop, leave
from tunproxy.flow.leaving import cut_off
from tunproxy.flow.life import (
    CLOSED_BY_HAND,
    DROPPED,
    ENDED,
    FORBIDDEN,
    LOOPING,
    NO_DESCRIPTOR,
    REFUSED,
    FlowLife,
)
from tunproxy.flow.opening import ask, converse, dial, hear_out, join
from tunproxy.flow.ports import Decider, FlowGuard, FlowWatcher, FrameSink, Opener, Poller, SocketMaker
from tunproxy.flow.targets import Targets, is_martian_target, is_multicast
from tunproxy.flow.tcp_flow import TcpFlow
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, SNIFF, FlowInfo, Verdict
from tunproxy.flow.watching import note_begin, note_end, note_reason
from tunproxy.tcp.connection import Settings
from tunproxy.tcp.cookie import LIFETIME, Cookies
from tunproxy.tcp.passive import answer_with_cookie, open_passive, refuse, reopen
from tunproxy.tcp.seq import seq_lt
from tunproxy.tcp.state import TIME_WAIT
from tunproxy.wire.icmp_quote import TooBig
from tunproxy.wire.ip import TCP, Endpoints, IpView
from tunproxy.wire.reasons import (
    LAND,
    MARTIAN_SOURCE,
    MARTIAN_TARGET,
    MEMORY_FULL,
    MULTICAST,
    NO_FLOW,
    OK,
    REJECTED,
    TABLE_FULL,
    UPSTREAM_FULL,
)
from tunproxy.wire.tcp import ACK, RST, SYN, Segment, emit_rst_for, parse_tcp

_INET: Final = int(socket.AF_INET)
_INET6: Final = int(socket.AF_INET6)

# our choices
MAX_FLOWS: Final[i64] = 65536  # that hold a descriptor


@final
@mypyc_attr(native_class=True)
class TcpTable(Dispatcher):
    """All TCP flows of one stack.

    secret is 16 random octets that keep our initial numbers unguessable; memory is how many octets flows may
    hold together.
    """

    def __init__(
        self,
        sink: FrameSink,
        poller: Poller,
        sockets: SocketMaker,
        targets: Targets,
        decider: Decider,
        opener: Opener,
        counters: Counters,
        settings: Settings,
        secret: bytes,
        max_flows: i64 = MAX_FLOWS,
        memory: i64 = MEMORY,
        watcher: FlowWatcher | None = None,
    ) -> None:
        self._budget: Final = Budget(memory)
        self._context: Final = FlowContext(sink, poller, counters, opener, self._budget, self, watcher)
        self._flows: Final = self._context.flows
        self._sink: Final = sink
        self._sockets: Final = sockets
        self._targets: Final = targets
        self._decider: Final = decider
        self._counters: Final = counters
        self._settings: Final = settings
        self._secret: Final = secret
        self._admission: Final = Admission(self._context, max_flows)
        self._cookies: Final = Cookies(secret)
        self._cookies_until: Micros = -1  # until then an ACK may bring one back
        self._seg: Final = Segment()
        self._dials_targets: bool = False
        self._always: Verdict | None = None
        self.guard: FlowGuard | None = None
        self.on_new_policy()

    def __len__(self) -> int:
        return len(self._flows)

    def on_new_policy(self) -> None:
        """Take note that the decider says something else from now on; flows that there are stay."""
        always = self._decider.constant()  # then no flow pays for being asked about
        self._dials_targets = always is not None and always.kind == DIAL and not always.address
        self._always = always

    def statistics(self) -> dict[str, int]:
        """Return how many flows there are now: all, embryos, and those in TIME-WAIT. Looks at each flow."""
        waiting = 0
        for flow in self._flows.values():
            if flow.conn.state == TIME_WAIT:
                waiting += 1
        return {"flows": len(self._flows), "embryos": len(self._context.embryos), "time_wait": waiting}

    def lives(self) -> list[FlowLife]:
        """Return the flows that somebody watches and that are not over, the oldest first."""
        return [flow.life for flow in self._flows.values() if flow.life is not None]

    def life_of(self, key: bytes) -> FlowLife | None:
        """Return the flow whose client's frames have this run of addresses and ports; None where none has."""
        flow = self._flows.get(key)
        return flow.life if flow is not None else None

    def on_packet(self, frame: bytes, view: IpView, is_verified: bool, now: Micros) -> None:
        """Process a TCP packet that is not a fragment. What it changes moves bytes only at end_batch."""
        seg = self._seg
        reason = parse_tcp(frame, view, is_verified, seg)
        if reason != OK:
            self._counters.drop(reason)
            return
        key = _key(frame, view)
        flow = self._flows.get(key)
        if flow is None:
            self._on_stray(key, frame, view, now)
        elif seg.flags & SYN and not seg.flags & ACK and _may_reuse(flow, seg):
            drop(flow)
            self._on_syn(key, _address(frame, view.src_off, view), frame, view, now)
        else:
            flow.on_segment(seg, now)

    def knows(self, frame: bytes, view: IpView) -> bool:
        """Tell whether a TCP packet, which may be none that makes sense, is of a flow that there is."""
        return view.payload_off + 4 <= view.end and _key(frame, view) in self._flows

    def on_too_big(self, report: TooBig, now: Micros) -> None:
        """Send smaller packets on the flow whose packet a router could not pass on (RFC 9293 §3.7.5)."""
        flow = self._flows.get(report.key)
        if flow is None or not flow.on_too_big(report, now):
            self._counters.drop(NO_FLOW)

    def end_batch(self, now: Micros) -> None:
        """Settle every flow that got segments since the last call."""
        context = self._context
        if len(context.touched) > 0:
            touched = context.touched
            context.touched = []
            for flow in touched:
                flow.settle(now)
        self._counters.memory_held = self._budget.used
        if self._budget.is_news:
            self._budget.is_news = False
            self._counters.memory_pressures += 1
            self._shed()

    def close(self) -> None:
        """Reset every flow, on both sides."""
        for flow in list(self._flows.values()):
            note_reason(flow, ENDED)
            drop(flow)

    def end(self, numbers: frozenset[int] | None) -> int:
        """Reset the watched flows of these numbers, all for None, on both sides; return how many it were."""
        count = 0
        for flow in list(self._flows.values()):
            life = flow.life
            if life is not None and (numbers is None or int(life.number) in numbers):
                count += 1
                note_reason(flow, CLOSED_BY_HAND)
                drop(flow)
        return count

    def cut_off(self, is_here: Callable[[str], bool]) -> int:
        """Reset the flows whose way out is gone (``leaving``); return how many. Looks at each flow.

        is_here tells of an address whether it is this host's.
        """
        return sum([cut_off(flow, is_here) for flow in list(self._flows.values())])

    def idle_to(self, target: bytes, port: i64) -> list[TcpFlow]:
        """Return the flows to a target whose client has been given nothing yet. Looks at each flow."""
        found: list[TcpFlow] = []
        for flow in self._flows.values():
            ends, life = flow.conn.ends, flow.life
            if ends.source == target and ends.source_port == port:
                if not flow.is_open or (life is not None and life.down == 0):
                    found.append(flow)
        return found

    def cut_loop(self, target: bytes, port: i64) -> int:
        """Refuse these flows to their clients; return how many it were."""
        found = self.idle_to(target, port)
        for flow in found:
            if flow.is_open:
                note_reason(flow, LOOPING)
                drop(flow)
            else:
                self._turn_away(flow, LOOPING)
        return len(found)

    def _shed(self) -> None:
        """Have flows that nothing happens to give up what they can, now that memory is short."""
        for flow in self._flows.values():
            if flow.charged > 0:
                flow.shed()
                if self._budget.level == CALM:
                    return

    def _on_stray(self, key: bytes, frame: bytes, view: IpView, now: Micros) -> None:
        """Process a segment that belongs to no flow (RFC 9293 §3.10.7.1, §3.10.7.2)."""
        seg = self._seg
        client = _address(frame, view.src_off, view)
        if is_multicast(client) or is_martian_target(client):  # RFC 1122 §3.2.1.3: nobody has such an address
            self._counters.drop(MULTICAST if is_multicast(client) else MARTIAN_SOURCE)
        elif seg.flags & RST:
            self._counters.drop(NO_FLOW)
        elif is_multicast(_address(frame, view.dst_off, view)):  # RFC 9293 §3.9.2.3: none speaks for a group
            self._counters.drop(MULTICAST)
        elif seg.flags & SYN and not seg.flags & ACK:
            self._on_syn(key, client, frame, view, now)
        elif now > self._cookies_until or seg.flags & SYN or not self._on_cookie(key, frame, view, now):
            self._counters.drop(NO_FLOW)
            self._sink.write(emit_rst_for(self._settings.scratch, _ends(frame, view, self._seg), seg))

    def _on_syn(self, key: bytes, client: bytes, frame: bytes, view: IpView, now: Micros) -> None:
        """Begin a flow, which the client hears of when the target has answered; or answer with a cookie."""
        seg = self._seg
        target = _address(frame, view.dst_off, view)
        ends = Endpoints(target, client, seg.target_port, seg.source_port, TCP)
        if target == client and seg.source_port == seg.target_port:
            self._counters.drop(LAND)
            return
        admitted = self._admission.of_syn(now)
        if admitted == NOTHING or admitted == NO_MEMORY:
            self._counters.drop(TABLE_FULL if admitted == NOTHING else MEMORY_FULL)
        elif admitted == COOKIE:
            self._send_cookie(key, ends, now)
        else:
            number = self._number(key)
            iss = (number + now // 4) & 0xFFFF_FFFF  # RFC 6528 §3: a clock of 4 µs and a keyed hash
            if now <= self._cookies_until:  # a SYN sent again is answered as the first one was
                iss = self._cookies.number(key, seg, now)
            conn = open_passive(ends, self._settings, seg, iss, number >> 32)
            self._begin(TcpFlow(key, conn, self._context, frame, now), now)

    def _send_cookie(self, key: bytes, ends: Endpoints, now: Micros) -> None:
        """Answer a SYN without keeping anything of it."""
        seg = self._seg
        self._counters.cookies_sent += 1
        self._cookies_until = now + LIFETIME
        cookie = self._cookies.number(key, seg, now)
        answer_with_cookie(ends, self._settings, seg, cookie, self._number(key) >> 32, now, self._sink)

    def _on_cookie(self, key: bytes, frame: bytes, view: IpView, now: Micros) -> bool:
        """Begin a flow where the segment brings back a cookie; return whether it does."""
        seg = self._seg
        syn = self._cookies.recall(key, seg, now) if seg.flags & ACK else None
        if syn is None:
            self._counters.cookies_refused += 1
            return False
        self._counters.cookies_accepted += 1
        ends = _ends(frame, view, seg)
        cookie = (seg.ack - 1) & 0xFFFF_FFFF
        conn = reopen(ends, self._settings, syn, cookie, self._number(key) >> 32, now)
        if self._budget.level == FULL or not self._admission.of_cookie(now):
            self._counters.drop(MEMORY_FULL if self._budget.level == FULL else TABLE_FULL)
            refuse(conn, self._sink)
            return True
        flow = TcpFlow(key, conn, self._context, b"", now)
        flow.on_segment(seg, now)
        self._begin(flow, now)
        return True

    def _number(self, key: bytes) -> i64:
        """Return a number of 62 bits that nobody else can tell from the addresses and ports."""
        return i64(hash(self._secret + key)) & 0x3FFF_FFFF_FFFF_FFFF

    def _begin(self, flow: TcpFlow, now: Micros) -> None:
        """Decide where the flow goes, and dial or ask for it."""
        seg, conn = self._seg, flow.conn
        ends = conn.ends
        if self._dials_targets:
            if self._context.watcher is not None and self._always is not None:
                info = FlowInfo("tcp", ends.destination, seg.source_port, ends.source, seg.target_port)
                note_begin(flow, info, self._always)
            self._dial(flow, self._targets.resolve(ends.source, seg.target_port), now)
            return
        info = FlowInfo("tcp", ends.destination, seg.source_port, ends.source, seg.target_port)
        verdict = self._decider.decide(info)
        if self._context.watcher is not None:
            note_begin(flow, info, verdict)
        self.send_off(flow, info, verdict, now)

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        return self._decider.decide_sniffed(info, data)

    def send_off(self, flow: TcpFlow, info: FlowInfo, verdict: Verdict, now: Micros) -> None:
        kind = verdict.kind
        guard = self.guard
        if guard is not None and (kind == CONVERSE or kind == OPEN) and not guard.admits(info, verdict):
            self._counters.drop(REJECTED)
            self._turn_away(flow, LOOPING)
        elif kind == DIAL:
            self._dial(flow, self._dial_address(info, verdict), now)
        elif kind == CONVERSE:
            if converse(flow, info, verdict, now):
                self._dial(flow, (verdict.address, int(verdict.port)), now)
        elif kind == OPEN:
            join(flow)
            ask(flow, info, verdict)
        elif kind == SNIFF:
            join(flow)
            hear_out(flow, info, now)
        else:
            self._counters.drop(REJECTED)
            if kind != DROP or flow.conn.is_answered:  # who has been answered cannot be left in silence
                self._turn_away(flow, REFUSED)
            elif flow.life is not None:
                note_reason(flow, DROPPED)
                note_end(flow, flow.life)

    def _dial_address(self, info: FlowInfo, verdict: Verdict) -> tuple[str, int] | None:
        if verdict.address:
            return verdict.address, int(verdict.port or info.target_port)
        return self._targets.resolve(info.target, info.target_port)

    def _dial(self, flow: TcpFlow, address: tuple[str, int] | None, now: Micros) -> None:
        conn = flow.conn
        if address is None:
            self._counters.drop(MARTIAN_TARGET)
            self._turn_away(flow, FORBIDDEN)
            return
        sock = self._socket(_INET6 if ":" in address[0] else _INET, conn.is_answered, now)
        if sock is not None:
            join(flow)
            dial(flow, sock, address, now)
        elif conn.is_answered:
            self._counters.drop(UPSTREAM_FULL)
            self._turn_away(flow, NO_DESCRIPTOR)
        elif len(self._context.embryos) > 0:  # for its client, when he has proved that he is there
            self._send_cookie(flow.key, conn.ends, now)
        else:  # the client asks again
            self._counters.drop(UPSTREAM_FULL)

    def _turn_away(self, flow: TcpFlow, reason: str) -> None:
        """Refuse the client, of whose flow nothing stays."""
        note_reason(flow, reason)
        refuse(flow.conn, self._sink)
        leave(flow)

    def _socket(self, family: int, has_proof: bool, now: Micros) -> socket.socket | None:
        """Return a socket, where the system has none left that of an embryo; None where there is none."""
        try:
            return self._sockets.tcp(family)
        except OSError:
            pass
        if not self._admission.free_descriptor(has_proof, now):
            return None
        try:
            return self._sockets.tcp(family)
        except OSError:  # somebody else was quicker
            return None


def _key(frame: bytes, view: IpView) -> bytes:
    """Return addresses and ports as they stand in the packet."""
    ports_off = view.src_off + 2 * view.address_len
    if ports_off == view.payload_off:
        return frame[view.src_off : ports_off + 4]
    return frame[view.src_off : ports_off] + frame[view.payload_off : view.payload_off + 4]


def _ends(frame: bytes, view: IpView, seg: Segment) -> Endpoints:
    source, destination = _address(frame, view.dst_off, view), _address(frame, view.src_off, view)
    return Endpoints(source, destination, seg.target_port, seg.source_port, TCP)


def _address(frame: bytes, at: i64, view: IpView) -> bytes:
    return frame[at : at + view.address_len]


def _may_reuse(flow: TcpFlow, seg: Segment) -> bool:
    """Tell whether this SYN may replace a flow in TIME-WAIT (RFC 6191, RFC 9293 §3.10.7.4)."""
    conn = flow.conn
    if conn.state != TIME_WAIT:
        return False
    if conn.ts_on and seg.ts_val >= 0 and seq_lt(conn.ts_recent, seg.ts_val):
        return True
    return seq_lt(conn.rcv_nxt, seg.seq)
