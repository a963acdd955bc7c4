"""Mixed traffic through one ``tunproxy up`` for long: no flow is lost, and nothing grows.

    python -P tests/system/soak.py [MINUTES]      as root; an hour unless told; what ``make soak`` runs

Connections short and long, half-closes, resets, datagrams, names and pings, in both families, each octet
checked by ``soak_peers``; a reload every minute. Every ten seconds a line says how it goes. In the end the
memory of the second half is put on a line by least squares: its slope is what an hour like this would add.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # as the peers' JSON has it

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))  # for tests.*; behind what is installed

from tests.system.hostlab import READY, TUNPROXY, WORLD_IPV4, WORLD_IPV6, HostLab, eventually, read_line
from tests.system.kill_at import children_of

PEERS = Path(__file__).with_name("soak_peers.py")
ADDRESSES = (WORLD_IPV4, WORLD_IPV6)
CONFIG = f'default = "DIRECT"\n[dns]\nservers = ["{WORLD_IPV4}"]\n'
GRACE = 90.0  # seconds after which the descriptors of all flows must be closed; those of UDP have a time-out
UDP_TIMEOUT = "10"

MAX_SLOPE = 4 << 20  # octets that an hour may add: some ten for each flow


@dataclass
class Sample:
    at: float  # seconds since the beginning
    memory: int  # octets that nobody else has, of all processes
    descriptors: int


@dataclass
class Report:
    """What came of it."""

    seconds: float
    told: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    reloads: int = 0
    before: int = 0  # descriptors
    after: int = 0
    said: str = ""  # what tunproxy said

    def second_half(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.at >= self.seconds / 2]

    def slope(self) -> float:
        """Return the octets per hour by which memory grew in the second half, by least squares."""
        half = self.second_half()
        mean_at = sum(sample.at for sample in half) / len(half)
        mean = sum(sample.memory for sample in half) / len(half)
        above = sum((sample.at - mean_at) * (sample.memory - mean) for sample in half)
        return 3600 * above / sum((sample.at - mean_at) ** 2 for sample in half)

    def memory(self) -> float:
        """Return the mean of the second half."""
        half = self.second_half()
        return sum(sample.memory for sample in half) / len(half)


def soak(
    lab: HostLab,
    scratch: Path,
    seconds: float,
    *,
    talkers: int = 40,
    pause: float = 0.0,
    reload_every: float = 60.0,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Run it. Raises AssertionError where tunproxy does not serve, or dies."""
    config = scratch / "soak.toml"
    config.write_text(CONFIG)
    up = ("up", "--config", str(config), "--udp-timeout", UDP_TIMEOUT)
    log = scratch / "tunproxy.log"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_peer(lab.world.name, "serve", *ADDRESSES))
        assert server.stdout is not None
        assert read_line(server.stdout) == "serves\n"
        with log.open("wb") as out, lab.host.entered():
            tunproxy = subprocess.Popen([*TUNPROXY, *up], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        stack.callback(_end, tunproxy)
        assert eventually(lambda: "worker uid" in log.read_text(), READY), log.read_text()
        report = Report(seconds, {}, reloads=1)
        tunproxy.send_signal(signal.SIGHUP)  # by the time it has reloaded, all is open that always is
        assert eventually(lambda: "is in force" in log.read_text(), READY), log.read_text()
        report.before = settled_descriptors(tunproxy.pid)
        client = stack.enter_context(_peer(lab.host.name, "talk", str(talkers), str(pause), *ADDRESSES))
        assert client.stdout is not None
        assert client.stdin is not None
        began, told_at = time.monotonic(), 0.0
        while (now := time.monotonic() - began) < seconds:
            report.told = json.loads(read_line(client.stdout) or "{}")
            assert report.told, "the peers have ended"
            assert tunproxy.poll() is None, f"tunproxy has ended: {log.read_text()}"
            taken = sample(tunproxy.pid)
            taken.at = now
            report.samples.append(taken)
            if now >= report.reloads * reload_every and reloads_done(log) == report.reloads:
                tunproxy.send_signal(signal.SIGHUP)  # of two before it has read once it may make one
                report.reloads += 1
            if now >= told_at:
                tell(_progress(report, taken))
                told_at += 10
        client.stdin.write("enough\n")
        client.stdin.flush()
        while not report.told["is_last"]:
            report.told = json.loads(read_line(client.stdout, 120) or '{"is_last": true, "failed": -1}')
        eventually(lambda: sample(tunproxy.pid).descriptors <= report.before, GRACE)
        report.after = sample(tunproxy.pid).descriptors
        eventually(lambda: reloads_done(log) == report.reloads)
        report.said = log.read_text()
    return report


def reloads_done(log: Path) -> int:
    """Return how many reloads came into force by now."""
    return log.read_text().count("is in force")


def sample(pid: int) -> Sample:
    """Return what tunproxy holds now; pid is its supervisor's."""
    memory = descriptors = 0
    for each in (pid, *children_of(pid)):
        with contextlib.suppress(OSError):
            descriptors += len(os.listdir(f"/proc/{each}/fd"))
            status = Path(f"/proc/{each}/status").read_text()
            memory += 1024 * int(status.partition("RssAnon:")[2].split()[0])
    return Sample(0.0, memory, descriptors)


def settled_descriptors(pid: int) -> int:
    """Return how many descriptors there are while nothing happens; what is closed a moment later is not."""
    counts = []
    for _ in range(10):
        counts.append(sample(pid).descriptors)
        time.sleep(0.1)
    return min(counts)


def problems(report: Report) -> list[str]:
    """Return what an hour must not have shown."""
    told, found = report.told, []
    if told["failed"]:
        found.append(f"{told['failed']} flows lost: {told.get('failures')}")
    if report.slope() > MAX_SLOPE:
        found.append(f"memory grows by {report.slope() / 1024:.0f} kB an hour")
    if report.after > report.before:
        found.append(f"{report.after - report.before} descriptors are left open")
    if report.said.count("is in force") != report.reloads:
        found.append(f"of {report.reloads} reloads {report.said.count('is in force')} came into force")
    if report.said.count("\n") > 1 + report.reloads:
        found.append(f"it complains: {report.said}")
    return found


@contextlib.contextmanager
def _peer(namespace: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-I", str(PEERS), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _progress(report: Report, taken: Sample) -> str:
    talks = sum(report.told["counts"].values())
    return (
        f"{taken.at:6.0f} s  {talks:9,} flows  {report.told['octets'] / 2**30:8.2f} GB  "
        f"{report.told['failed']} lost  {sum(report.told['again'].values())} datagrams again  "
        f"{taken.memory / 2**20:7.1f} MB  {taken.descriptors:4} descriptors  {report.reloads} reloads"
    )


def main() -> int:
    """Run for an hour, or so many minutes; return the exit code."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    os.environ["PYTHONSAFEPATH"] = "1"  # what is installed, not what lies here
    with HostLab() as lab, tempfile.TemporaryDirectory() as scratch:
        report = soak(lab, Path(scratch), 60 * minutes, tell=lambda line: print(line, flush=True))
    print(json.dumps(report.told["counts"]), "again:", json.dumps(report.told["again"]))
    print(
        f"memory {report.memory() / 2**20:.1f} MB, {report.slope() / 2**10:+.0f} kB an hour; "
        f"descriptors {report.before} before, {report.after} after"
    )
    for problem in problems(report):
        print(f"soak: {problem}", file=sys.stderr)
    return 1 if problems(report) else 0


if __name__ == "__main__":
    sys.exit(main())
