"""Nanoseconds per operation of the packet path's pieces, called from Python.

    python tests/bench/micro.py [NAME …]

Each figure is the best of seven rounds, less what calling an empty compiled function costs, so that it is
close to what compiled code pays. Run it from an installed tree to measure compiled code, with PYTHONPATH
set to the source tree for interpreted code: the first line says which it was.
"""

import base64
import sys
import timeit
from collections.abc import Callable
from functools import partial

from librt.strings import BytesWriter

from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import METHODS, client_keys, method_named, server_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.codecs.shadowsocks_packet_server import PacketServer
from tunproxy.flow.ports import FrameSink, Timed
from tunproxy.loop.timers import TimerWheel
from tunproxy.tcp.active import queue, took
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Connection, Settings
from tunproxy.tcp.deadline import next_deadline
from tunproxy.tcp.passive import accept, open_passive
from tunproxy.tcp.receive import receive
from tunproxy.tcp.scoreboard import Scoreboard
from tunproxy.tcp.transmit import transmit
from tunproxy.version import describe
from tunproxy.wire.bits import u16
from tunproxy.wire.checksum import checksum
from tunproxy.wire.ip import TCP, Endpoints, IpView, parse_ip
from tunproxy.wire.tcp import ACK, PSH, SYN, Segment, emit_tcp, parse_tcp
from tunproxy.wire.tcp_options import put_syn_options, put_timestamps
from tunproxy.wire.vnet import VNET_LEN

CLIENT, TARGET = bytes((10, 0, 0, 2)), bytes((192, 0, 2, 1))
FROM_CLIENT = Endpoints(CLIENT, TARGET, 40000, 80, TCP)
FROM_TARGET = Endpoints(TARGET, CLIENT, 80, 40000, TCP)
TO_TARGET = emit_address(TARGET, 80)
ROUNDS = 7


class Swallow(FrameSink):
    """A device that takes everything and keeps nothing."""

    def write(self, frame: bytes) -> None:
        pass

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        pass


class Idle(Timed):
    """Something with a deadline that never does anything."""

    def on_deadline(self, now: int) -> None:
        pass


def password_for(method: str) -> str:
    """Return a password that a Shadowsocks method takes."""
    named = method_named(method)
    return base64.b64encode(bytes(named.key_len)).decode() if named.is_2022 else "password"


def packet_client(method: str) -> PacketClient:
    return PacketClient(client_keys(method, password_for(method)))


def client_frame(seq: int, ack: int, flags: int, payload: bytes, gso_size: int = 0) -> bytes:
    """Return a frame as the kernel hands it to us for a client that uses timestamps."""
    out = BytesWriter()
    emit_tcp(out, FROM_CLIENT, seq, ack, flags, 512, 12, len(payload), gso_size)
    put_timestamps(out, 1000, 2000)
    out.write(payload)
    return out.getvalue()


def parsed(frame: bytes) -> Segment:
    """Return frame's segment."""
    view, seg = IpView(), Segment()
    assert parse_ip(frame, VNET_LEN, len(frame), view) == 0
    assert parse_tcp(frame, view, True, seg) == 0
    return seg


def established() -> tuple[Connection, Swallow]:
    """Return a connection whose client has acknowledged our SYN; its next octet is number 1001."""
    out, sink = BytesWriter(), Swallow()
    emit_tcp(out, FROM_CLIENT, 1000, 0, SYN, 65535, 24, 0, 0)
    put_syn_options(out, 1460, 10, True, 1000, 0)
    conn = open_passive(FROM_TARGET, Settings(1500, cwnd=UNTHROTTLED), parsed(out.getvalue()), 5000, 0)
    accept(conn, 0, sink)
    receive(conn, parsed(client_frame(1001, 5001, ACK, b"")), 0, sink)
    return conn, sink


def benches() -> dict[str, Callable[[], Callable[[], object]]]:
    """Return for each name a function that prepares and returns the operation."""

    def parse_small() -> Callable[[], object]:
        frame, view, seg = client_frame(1, 1, ACK, b""), IpView(), Segment()
        return lambda: (parse_ip(frame, VNET_LEN, len(frame), view), parse_tcp(frame, view, True, seg))

    def find_flow() -> Callable[[], object]:
        frame = client_frame(1, 1, ACK, b"")
        flows = {frame[VNET_LEN + 12 : VNET_LEN + 24]: 1}
        return lambda: flows.get(frame[VNET_LEN + 12 : VNET_LEN + 24])

    def sum_1460() -> Callable[[], object]:
        data = bytes(range(256)) * 6
        return lambda: checksum(data, 0, 1460, 0)

    def emit_ack() -> Callable[[], object]:
        conn, sink = established()

        def run() -> None:
            conn.ack_now = True
            transmit(conn, 10, sink)

        return run

    def receive_super_packet() -> Callable[[], object]:
        conn, sink = established()
        seg = parsed(client_frame(1001, 5001, ACK | PSH, bytes(65160), 1448))

        def run() -> None:
            seg.seq = conn.rcv_nxt
            receive(conn, seg, 10, sink)
            conn.rcv_queue.clear()
            took(conn, 65160)
            transmit(conn, 10, sink)

        return run

    def send_super_packet() -> Callable[[], object]:
        conn, sink = established()
        data, seg = bytes(65160), parsed(client_frame(1001, 5001, ACK, b""))

        def run() -> None:
            queue(conn, data)
            transmit(conn, 10, sink)
            seg.ack = conn.snd_nxt
            receive(conn, seg, 10, sink)

        return run

    def deadline() -> Callable[[], object]:
        conn, _ = established()
        return lambda: next_deadline(conn)

    def timer() -> Callable[[], object]:
        wheel, idle = TimerWheel(0), Idle()
        clock = iter(range(5000, 1 << 62, 1000))

        def run() -> None:
            now = next(clock)
            wheel.schedule(idle, now + 2000)
            wheel.advance(now)

        return run

    def sack() -> Callable[[], object]:
        def run() -> None:
            board = Scoreboard()
            for left in range(0, 20000, 2000):
                board.add(left + 1000, left + 2000)
            board.lost_until(0, 1448)

        return run

    def seal(method: str) -> Callable[[], object]:
        client, payload = packet_client(method), bytes(1400)
        return lambda: client.seal(TO_TARGET, payload)

    def seal_and_open(method: str) -> Callable[[], object]:
        client, payload = packet_client(method), bytes(1400)
        server = PacketServer(server_keys(method, password_for(method)))
        return lambda: server.open(client.seal(TO_TARGET, payload))

    sealing = {
        f"{method}: {what}": partial(prepare, method)
        for method in METHODS
        for what, prepare in (("seal 1400 octets", seal), ("seal and open 1400 octets", seal_and_open))
    }
    return {
        "parse IP and TCP headers": parse_small,
        "find the flow": find_flow,
        "checksum of 1460 octets": sum_1460,
        "build an acknowledgment": emit_ack,
        "receive 64 KB, deliver, acknowledge": receive_super_packet,
        "queue and send 64 KB, take its acknowledgment": send_super_packet,
        "next deadline": deadline,
        "schedule a timer and let it fire": timer,
        "scoreboard: ten ranges and what is lost": sack,
        **sealing,
    }


def best_ns(operation: Callable[[], object]) -> float:
    """Return nanoseconds per call, the best of ROUNDS rounds."""
    timer = timeit.Timer(operation)
    count, seconds = timer.autorange()
    return min(seconds, *timer.repeat(ROUNDS - 1, count)) / count * 1e9


def main() -> None:
    """Print a line per operation."""
    wanted = sys.argv[1:]
    print(describe())
    frame = client_frame(1, 1, ACK, b"")
    call = best_ns(lambda: u16(frame, 0))
    print(f"{'calling a function from Python (subtracted once)':50} {call:8.0f} ns")
    for name, prepare in benches().items():
        if not wanted or any(word in name for word in wanted):
            print(f"{name:50} {max(best_ns(prepare()) - call, 0):8.0f} ns")


if __name__ == "__main__":
    main()
