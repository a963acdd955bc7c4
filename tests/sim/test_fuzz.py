"""Segments that no honest peer sends, at a connection in every state: it never fails, and stays in bounds.

Half of them are drawn around what the connection expects, so that they pass the first checks; half are
arbitrary, malformed options included. In between its owner does what owners do, and time passes.
"""

import random
import struct
from collections.abc import Callable

import pytest

from tests.sim.invariants import REACHABLE, violations
from tests.sim.scenarios import CONTENT, from_seed
from tests.sim.world import World
from tests.unit.tcp.builders import EVERY_STATE, START, syn_sent
from tests.unit.tcp.frames import CLIENT_PORT, TARGET_PORT, Recorder, ends, parse_sent
from tunproxy import version
from tunproxy.tcp.active import abort, close, queue, took
from tunproxy.tcp.connection import Connection, send_room
from tunproxy.tcp.deadline import next_deadline, on_deadline
from tunproxy.tcp.receive import receive
from tunproxy.tcp.state import CLOSED, NAMES
from tunproxy.tcp.transmit import transmit
from tunproxy.wire.ip import IpView
from tunproxy.wire.reasons import OK
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN, Segment, parse_tcp
from tunproxy.wire.vnet import DATA_VALID, VNET_LEN

SEGMENTS = 10_000 if version.is_compiled() else 1000  # in each of eleven states
STEPS = 400
USUAL = (ACK, ACK, ACK, ACK | PSH, ACK | FIN, SYN, SYN | ACK, RST, RST | ACK, FIN, 0)
HEADERS = bytes(VNET_LEN + 20)


class Fuzzer:
    """One connection, and somebody who wants it to fail."""

    def __init__(self, build: Callable[..., Connection], draw: random.Random) -> None:
        self.draw = draw
        how = {
            "rcv_nxt": draw.choice((1000, 0, 2**32 - 1500)),
            "snd_nxt": draw.choice((5000, 1, 2**32 - 3000)),
            "sack": draw.random() < 0.6,
            "ts": draw.random() < 0.5,
            "shift": draw.choice((None, 0, 3, 14)),
            "mss": draw.choice((None, 1, 536, 1460, 9000)),
            "rcv_buf": draw.choice((3000, 65536, 1 << 20)),
            "cwnd": draw.choice((0, 1 << 30)),
            "tso": draw.random() < 0.5,
        }
        if build is syn_sent:
            how = {name: how[name] for name in ("snd_nxt", "rcv_buf", "cwnd", "tso")}
        self.conn = build(**how)
        self.now = START
        self.out = Recorder()
        self.log: list[str] = []
        self.segments = 0

    def play(self) -> int:
        """Go on until the connection has been closed for a while; return how many segments came."""
        before = int(self.conn.state)
        for _ in range(STEPS):
            if self.conn.state == CLOSED and self.draw.random() < 0.2:
                break
            self._step()
            transmit(self.conn, self.now, self.out)
            wrong = list(violations(self.conn))
            assert not wrong, f"{wrong} in {NAMES[self.conn.state]} after\n" + "\n".join(self.log[-12:])
            after = int(self.conn.state)
            assert before == after or (before, after) in REACHABLE, f"{NAMES[before]} to {NAMES[after]}"
            before = after
        abort(self.conn, self.out)
        assert self.conn.state == CLOSED
        return self.segments

    def _step(self) -> None:
        draw = self.draw
        if draw.random() < 0.75:
            count = len(self.out.frames)
            self._segment()
            assert len(self.out.frames) - count <= 2, "one segment is answered by one or two"
        else:
            self._owner(draw.randrange(6))
        if len(self.out.frames) > 200:
            parse_sent(draw.choice(self.out.frames))
            self.out.frames.clear()

    def _owner(self, what: int) -> None:
        draw, conn = self.draw, self.conn
        self.log.append(f"owner {what}")
        if what == 0 and not conn.fin_queued and conn.state != CLOSED and send_room(conn) > 0:
            size = min(draw.choice((1, 100, 5000, 200_000)), send_room(conn))
            queue(conn, CONTENT[:size])
        elif what == 1 and conn.rcv_queued:
            count = draw.randrange(1, conn.rcv_queued + 1)
            piece = b"".join(bytes(part) for part in conn.rcv_queue)[count:]
            conn.rcv_queue[:] = [piece] if piece else []
            took(conn, count)
        elif what == 2 and draw.random() < 0.1 and conn.state != CLOSED:
            close(conn)
        elif what == 3:
            self.now += draw.choice((1, 999, 50_000, 10_000_000))
        elif (due := next_deadline(conn)) >= 0 and draw.random() < 0.5:
            self.now = max(self.now, due)
        if 0 <= next_deadline(conn) <= self.now:
            on_deadline(conn, self.now, self.out)

    def _segment(self) -> None:
        draw, conn = self.draw, self.conn
        self.segments += 1
        near = draw.choice((0, 0, 1, -1, 100, -100, 1460, 3000, -70_000, 70_000, 2**31 - 1, 2**31))
        seq = draw.choice((conn.rcv_nxt, conn.rcv_nxt, conn.rcv_nxt, conn.rcv_adv, conn.irs)) + near
        ack = draw.choice((conn.snd_una, conn.snd_nxt, conn.snd_nxt, conn.snd_una + 1460, conn.iss))
        ack += draw.choice((0, 0, 0, 0, 1, -1, 500, -500))
        flags = draw.choice(USUAL)
        wnd = draw.choice((0, 1, 500, 0xFFFF, 0xFFFF))
        opts = self._options()
        size = draw.choice((0, 0, 1, 10, 1460, 5000, 60_000))
        if draw.random() < 0.1:
            seq, ack, flags = (draw.randrange(2**32) for _ in range(3))
            opts = draw.randbytes(4 * draw.randrange(11))
        tcp = struct.pack(
            "!HHIIBBHHH", CLIENT_PORT, TARGET_PORT, seq % 2**32, ack % 2**32, (5 + len(opts) // 4) << 4,
            flags & 0xFF, wnd, 0, draw.randrange(100),
        )  # fmt: skip
        frame = HEADERS + tcp + opts + CONTENT[:size]
        self.log.append(
            f"{self.now} seq {seq - conn.rcv_nxt:+} ack {ack - conn.snd_una:+} of {conn.flight_size} flags "
            f"{flags & 0xFF:#x} wnd {wnd} len {size} opts {opts.hex()} in {NAMES[conn.state]}"
        )
        view, seg = IpView(), Segment()
        view.payload_off, view.end = len(HEADERS), len(frame)
        assert parse_tcp(frame, view, True, seg) == OK
        receive(conn, seg, self.now, self.out)

    def _options(self) -> bytes:
        draw, conn = self.draw, self.conn
        found = b""
        if draw.random() < 0.5:
            ts_val = conn.ts_recent + draw.choice((0, 0, 1, 5, -1, 2**31))
            found += struct.pack("!HBBII", 0x0101, 8, 10, ts_val % 2**32, draw.randrange(2**32))
        if draw.random() < 0.4:
            edges = []
            for _ in range(draw.randrange(1, 4)):
                left = conn.snd_una + draw.randrange(-2000, 2000 + conn.flight_size)
                edges += [left % 2**32, (left + draw.choice((0, 1, 1460, 4000, -5, 2**31))) % 2**32]
            found += struct.pack(f"!HBB{len(edges)}I", 0x0101, 5, 2 + 4 * len(edges), *edges)
        return found[:40]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("build", EVERY_STATE.values(), ids=EVERY_STATE)
def test_connection_survives_every_segment(build: Callable[..., Connection]) -> None:
    draw, count = random.Random(1), 0
    while count < SEGMENTS:
        count += Fuzzer(build, draw).play()


def test_forged_segments_of_a_blind_attacker_change_nothing() -> None:
    """RFC 5961: whoever does not see the numbers can neither end nor change a conversation."""
    for seed in range(100 if version.is_compiled() else 20):
        scenario = from_seed(seed)
        world = World(scenario, is_attacked=True)
        draw = random.Random(seed)
        for _ in range(300):
            world.at(world.now + draw.randrange(3_000_000), _attack(world, draw))
        world.run()


def _attack(world: World, draw: random.Random) -> Callable[[int], None]:
    host = world.hosts[draw.randrange(2)]
    ours = host.ends
    flags = draw.choice((RST, RST | ACK, SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN))
    tcp = struct.pack(
        "!HHIIBBHHH", ours.destination_port, ours.source_port, draw.randrange(2**32), draw.randrange(2**32),
        0x50, flags, draw.randrange(0x10000), 0, 0,
    )  # fmt: skip
    tcp += b"forged" * draw.randrange(3)
    if ours.is_ipv6:
        ip = struct.pack("!IHBB", 0x6000_0000, len(tcp), 6, 64) + ours.destination + ours.source
    else:
        ip = (
            struct.pack("!BBHIBBH", 0x45, 0, 20 + len(tcp), 0x4000, 64, 6, 0) + ours.destination + ours.source
        )
        total = sum(struct.unpack("!10H", ip))
        ip = ip[:10] + struct.pack("!H", ~(total % 0xFFFF) & 0xFFFF) + ip[12:]
    frame = bytes((DATA_VALID,)) + bytes(VNET_LEN - 1) + ip + tcp

    def arrives(now: int) -> None:
        if host.conn is not None:
            host.on_arrival(frame)

    return arrives


def test_fuzzer_knows_its_ends() -> None:
    assert (ends().source_port, ends().destination_port) == (TARGET_PORT, CLIENT_PORT)
