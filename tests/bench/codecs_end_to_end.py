"""What a codec costs: streams of noise, which does not shrink, through both our ends, with it and without.

    python -P tests/bench/codecs_end_to_end.py [--rounds 5] [--seconds 3] [--codec zstd]        as root

    client ─ tunproxy exec ─ CONNECT, codec ─ tunproxy relay ─ this process

Everything runs in one namespace. Each round measures every way in turn, so that what disturbs the machine
disturbs all of them; the ratio is the median of the rounds' ratios. Processor time is that of both programs,
from the first octet to the last; the client's and ours are not in it.
"""

import argparse
import contextlib
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # for tests.*; behind what is installed

from tests.system.namespace import Namespace, Program
from tunproxy.version import describe

TARGET, SINK, RELAY = "10.98.76.5", 9000, 9001
NOISE = random.Random(1).randbytes(1 << 25)
CHUNK = 1 << 18
TICK = os.sysconf("SC_CLK_TCK")
UP, DOWN = "up", "down"


def send_noise(sock: socket.socket, seconds: float) -> int:
    """Send for a time, then end; return how many octets."""
    sent, until, whole = 0, time.monotonic() + seconds, memoryview(NOISE)
    while time.monotonic() < until:
        at = sent % len(whole)
        sent += sock.send(whole[at : at + CHUNK])
    sock.shutdown(socket.SHUT_WR)
    return sent


def swallow(sock: socket.socket) -> int:
    """Read to the end; return how many octets."""
    room, count = bytearray(1 << 20), 0
    while size := sock.recv_into(room):
        count += size
    return count


def be_client(way: str, seconds: float) -> None:
    """Run inside the device: say whose processor time does not count, then send or receive."""
    with socket.create_connection((TARGET, SINK), 20) as sock:
        sock.settimeout(60)
        sock.sendall(os.getpid().to_bytes(4, "big"))
        sock.recv(1)
        if way == UP:
            send_noise(sock, seconds)
        swallow(sock)


def family_of(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += family_of(int(child))
    return found


def processor_time(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def one_stream(
    where: Namespace, listener: socket.socket, relay: Program, codec: str, way: str, seconds: float, log: Path
) -> tuple[float, float, float]:
    """Return MB/s, and the seconds of processor time that client's end and relay took for a GB."""
    upstream = f"http://127.0.0.1:{RELAY}" + (f"?codecs={codec}" if codec else "")
    again = [sys.executable, "-P", str(Path(__file__).resolve()), "--client", way, "--seconds", str(seconds)]
    ours = where.spawn(
        sys.executable, "-P", "-m", "tunproxy", "exec", "--upstream", upstream, "--", *again, log=log
    )
    try:
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(60)
            client = int.from_bytes(conn.recv(4, socket.MSG_WAITALL), "big")
            near = [pid for pid in family_of(ours.process.pid) if pid != client]
            far = family_of(relay.process.pid)
            before, began = (processor_time(near), processor_time(far)), time.monotonic()
            conn.send(b"!")
            if way == UP:
                count = swallow(conn)
            else:
                count = send_noise(conn, seconds)
                conn.recv(1)  # its end: everything has arrived
            took = time.monotonic() - began
            used = processor_time(near) - before[0], processor_time(far) - before[1]
        return count / took / 1e6, used[0] / count * 1e9, used[1] / count * 1e9
    except TimeoutError:
        raise SystemExit(f"nothing came through: {log.read_text()}") from None
    finally:
        ours.stop()


def measure(rounds: int, seconds: float, codec: str) -> None:
    where = Namespace("codecs")
    try:
        where.ip("address", "add", f"{TARGET}/32", "dev", "lo")
        with tempfile.TemporaryDirectory() as scratch, where.listen(TARGET, SINK) as listener:
            options = ["--listen", f"127.0.0.1:{RELAY}", "--workers", "1", "--allow", TARGET]
            log = Path(scratch, "relay.log")
            relay = where.spawn(sys.executable, "-P", "-m", "tunproxy", "relay", *options, log=log)
            try:
                _await_relay(where)
                for way in (UP, DOWN):
                    _compare(where, listener, relay, way, rounds, seconds, codec, Path(scratch, "exec.log"))
            finally:
                relay.stop()
    finally:
        where.delete()


def _compare(
    where: Namespace,
    listener: socket.socket,
    relay: Program,
    way: str,
    rounds: int,
    seconds: float,
    codec: str,
    log: Path,
) -> None:
    found: dict[str, list[tuple[float, float, float]]] = {"": [], codec: []}
    for number in range(rounds):
        for name in sorted(found, reverse=number % 2 == 1):
            found[name].append(one_stream(where, listener, relay, name, way, seconds, log))
    for name, runs in found.items():
        speeds, near, far = zip(*runs, strict=True)
        print(
            f"noise {way:5} {name or 'no codec':9} {statistics.median(speeds):7.0f} MB/s "
            f"[{min(speeds):.0f}-{max(speeds):.0f}], CPU s/GB: exec {statistics.median(near):.3f}, "
            f"relay {statistics.median(far):.3f}"
        )
    pairs = list(zip(found[codec], found[""], strict=True))
    speed = statistics.median(ours[0] / bare[0] for ours, bare in pairs)
    time_taken = statistics.median(sum(ours[1:]) / sum(bare[1:]) for ours, bare in pairs)
    print(f"noise {way:5} ratio     {speed:7.3f} of the throughput, {time_taken:.3f} of the processor time\n")


def _await_relay(where: Namespace) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            where.connect("127.0.0.1", RELAY).close()
            return
        time.sleep(0.05)
    raise SystemExit("the relay does not listen")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--codec", default="zstd")
    parser.add_argument("--client", choices=(UP, DOWN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        be_client(options.client, options.seconds)
    elif os.geteuid():
        print("left out: it makes a network namespace (run as root)", file=sys.stderr)
    else:
        print(f"{describe()}, {options.rounds} rounds of {options.seconds:g} s")
        measure(options.rounds, options.seconds, options.codec)


if __name__ == "__main__":
    main()
