"""``tunproxy relay`` beside microsocks and tinyproxy, in one run: one stream, and connections a second.

    python -P tests/bench/relay.py [SECONDS]        as root: it makes a namespace for the traffic
    python -P tests/bench/relay.py --fuzz [COUNT]   mutated inputs for its parsers, a million unless said

Everything runs on the loopback of one namespace, so that the processor is all that counts. Of each program it
prints Gbit/s, Gbit per second of its own processor time, connections a second (connect, request, one octet,
close) and its processor time for each.
"""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.system.namespace import Namespace, Program
from tests.unit.relay.mutated import attack

SINK, RELAY, MICROSOCKS, TINYPROXY = 9000, 9001, 9002, 9003
CLIENTS = 16
CHUNK = bytes(1 << 18)
TICK = os.sysconf("SC_CLK_TCK")


def serve_sink(listener: socket.socket) -> None:
    """Answer the first octet, and swallow the rest."""

    def swallow(conn: socket.socket) -> None:
        room = bytearray(1 << 20)
        with conn, contextlib.suppress(OSError):
            if conn.recv(1):
                conn.sendall(b"!")
            while conn.recv_into(room):
                pass

    listener.settimeout(None)
    with contextlib.suppress(OSError), ThreadPoolExecutor(CLIENTS * 4) as pool:
        while True:
            pool.submit(swallow, listener.accept()[0])


def open_through(where: Namespace, port: int, kind: str) -> socket.socket:
    """Return a stream to the sink, whose first octet has been answered."""
    sock = where.connect("127.0.0.1", port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind == "http":
        sock.sendall(f"CONNECT 127.0.0.1:{SINK} HTTP/1.1\r\nHost: sink\r\n\r\n".encode())
        heard = b""
        while not heard.endswith(b"\r\n\r\n"):
            heard += sock.recv(1000)
    elif kind == "socks5":
        sock.sendall(b"\x05\x01\x00")
        sock.recv(2)
        sock.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + SINK.to_bytes(2, "big"))
        sock.recv(10)
    sock.sendall(b"?")
    assert sock.recv(1) == b"!"
    return sock


def processor_time(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def family_of(program: Program | None) -> list[int]:
    if program is None:
        return []
    pid = program.process.pid
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def one_stream(
    where: Namespace, port: int, kind: str, seconds: float, pids: list[int]
) -> tuple[float, float]:
    """Return Gbit/s, and Gbit per second of the program's processor time."""
    with open_through(where, port, kind) as sock:
        sent, began, used = 0, time.monotonic(), processor_time(pids)
        while time.monotonic() - began < seconds:
            sent += sock.send(CHUNK)
        took, used = time.monotonic() - began, processor_time(pids) - used
    bits = sent * 8 / 1e9
    return bits / took, bits / used if used else 0.0


def connection_rate(
    where: Namespace, port: int, kind: str, seconds: float, pids: list[int]
) -> tuple[float, float]:
    """Return connections a second, of two clients, and the program's microseconds for each."""
    reader, writer = os.pipe()
    used = processor_time(pids)
    for _ in range(2):
        if os.fork() == 0:
            count, until = 0, time.monotonic() + seconds
            with where.entered():
                while time.monotonic() < until:
                    open_through(where, port, kind).close()
                    count += 1
            os.write(writer, count.to_bytes(8, "big"))
            os._exit(0)
    total = 0
    for _ in range(2):
        total += int.from_bytes(os.read(reader, 8), "big")
        os.wait()
    return total / seconds, (processor_time(pids) - used) / max(total, 1) * 1e6


@contextlib.contextmanager
def programs(where: Namespace, scratch: Path) -> Iterator[dict[tuple[str, str], tuple[int, Program | None]]]:
    tinyproxy = scratch / "tinyproxy.conf"
    tinyproxy.write_text(
        f"User root\nGroup root\nPort {TINYPROXY}\nListen 127.0.0.1\nMaxClients 500\nTimeout 60\n"
    )
    argv = ["tunproxy", "relay", "--listen", f"127.0.0.1:{RELAY}", "--workers", "1", "--allow", "127.0.0.1"]
    relay = where.spawn(sys.executable, "-P", "-m", *argv, log=scratch / "relay.log")
    made: dict[tuple[str, str], tuple[int, Program | None]] = {("nothing between", ""): (SINK, None)}
    made["tunproxy relay", "http"] = made["tunproxy relay", "socks5"] = (RELAY, relay)
    if shutil.which("microsocks"):
        program = where.spawn(
            "microsocks", "-i", "127.0.0.1", "-p", str(MICROSOCKS), log=scratch / "micro.log"
        )
        made["microsocks", "socks5"] = (MICROSOCKS, program)
    if shutil.which("tinyproxy"):
        program = where.spawn("tinyproxy", "-d", "-c", str(tinyproxy), log=scratch / "tiny.log")
        made["tinyproxy", "http"] = (TINYPROXY, program)
    try:
        for port, _ in made.values():
            until = time.monotonic() + 20
            while time.monotonic() < until:
                try:
                    where.connect("127.0.0.1", port).close()
                    break
                except OSError:
                    time.sleep(0.05)
        yield made
    finally:
        for _, each in made.values():
            if each is not None:
                each.stop()


def main(seconds: float) -> None:
    where = Namespace("bench")
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    try:
        with tempfile.TemporaryDirectory() as scratch, where.listen("127.0.0.1", SINK) as listener:
            threading.Thread(target=serve_sink, args=(listener,), daemon=True).start()
            with programs(where, Path(scratch)) as made:
                print(f"{'':24}{'Gbit/s':>10}{'Gbit/CPU-s':>12}{'connections/s':>15}{'us each':>9}")
                for (name, kind), (port, program) in made.items():
                    pids = family_of(program)
                    speed, share = one_stream(where, port, kind, seconds, pids)
                    rate, each = connection_rate(where, port, kind, seconds, pids)
                    print(f"{f'{name} {kind}':24}{speed:10.2f}{share:12.2f}{rate:15.0f}{each:9.0f}")
    finally:
        where.delete()


def fuzz(count: int) -> None:
    began = time.monotonic()
    for end, number in sorted(attack(count, seed=count).items()):
        print(f"{end:24}{number:10}")
    print(f"{count} inputs in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fuzz"]:
        fuzz(int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
