"""One running ``tunproxy up`` as the tests see it: its processes, its output, what it holds."""

import contextlib
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any  # as the document has it

# Words that a healthy run never writes.
COMPLAINT = re.compile(r"traceback|\berror\b|exception", re.IGNORECASE)
SOFT_DESCRIPTOR_LIMIT = 1024  # what a login shell gives a program; to ask for more is the proxy's business
_numbers = itertools.count(1)


class Proxy:
    """tunproxy, started in the namespace that the calling thread is in."""

    def __init__(self, options: Sequence[str], scratch: Path) -> None:
        self._log = scratch / f"tunproxy-{next(_numbers)}.log"
        self._baseline = 0
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit = f"--nofile={SOFT_DESCRIPTOR_LIMIT}:{hard if hard != resource.RLIM_INFINITY else 'unlimited'}"
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                ["prlimit", limit, sys.executable, "-m", "tunproxy", "up", *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=scratch, start_new_session=True,
            )  # fmt: skip

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_serving(self, device: Path, timeout: float) -> None:
        """Return when the start-up line and the device are there, the device as its path in /sys or /proc."""
        until = time.monotonic() + timeout
        while "\n" not in self.output() or not device.exists():
            if not self.is_alive() or time.monotonic() > until:
                raise RuntimeError(f"tunproxy does not serve: {self.output() or 'no output'}")
            time.sleep(0.02)

    def pids(self) -> list[int]:
        """Return the process and all its descendants."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(entry.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.parent.name))
        found = [self._process.pid]
        for pid in found:
            found.extend(children.get(pid, ()))
        return found

    def descriptors(self) -> int:
        """Count the open descriptors of all its processes."""
        count = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                count += len(os.listdir(f"/proc/{pid}/fd"))
        return count

    def resident(self) -> int:
        """Return the octets of memory its processes hold that nobody else does."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                total += sum(1024 * int(kb) for kb in re.findall(r"RssAnon:\s+(\d+) kB", status))
        return total

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have used so far."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                ticks += sum(
                    map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
                )
        return ticks / os.sysconf("SC_CLK_TCK")

    def status(self) -> dict[str, Any]:
        """Return what it tells of itself, as ``tunproxy status --json`` has it."""
        # not above: which tunproxy the tests run is settled after pytest has loaded this
        from tunproxy.control import client, endpoint

        (path,) = [found.path for found in endpoint.find() if found.pid == self._process.pid]
        return client.fetch_status(path)

    def note_baseline(self) -> None:
        """Remember how many descriptors are open while no flow is."""
        counts = []
        for _ in range(8):  # what is closed a moment after its flow must not count
            counts.append(self.descriptors())
            time.sleep(0.03)
        self._baseline = min(counts)

    def leaked(self, grace: float) -> int:
        """Return how many descriptors too many are open, after waiting at most grace seconds for none."""
        until = time.monotonic() + grace
        while True:
            excess = self.descriptors() - self._baseline
            if excess <= 0 or time.monotonic() > until:
                return max(0, excess)
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """Return the lines of output that no healthy run writes."""
        return [line for line in self.output().splitlines() if COMPLAINT.search(line)]

    def stop(self) -> int:
        """End it as Ctrl-C would, by force where that does not help; return its exit code."""
        if self.is_alive():
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait(30)
