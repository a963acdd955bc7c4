"""How much several workers carry, beside one and beside the bare kernel (needs root, nginx, wrk, iperf3).

    python tests/bench/scale.py [ROUNDS]

A host's programs connect to a server behind its uplink, with ``tunproxy up --workers N`` between them or
without; all loads run in turn, ROUNDS times (default 3), and the table has the medians. A worker uses one
processor up, the programs and the kernel the others: how many there are says what can be expected.
"""

import contextlib
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # for tests.*; behind what is installed

from tests.system.hostlab import WORLD_IPV4, HostLab, eventually
from tunproxy.version import describe

SECONDS = 3
IPERF_PORT, HTTP_PORT = 5201, 8080
WORKERS = (0, 1, 2, 4)  # 0: without us
NGINX = """daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4000; multi_accept on; }}
http {{ access_log off; keepalive_requests 1000000000;
  server {{ listen {address}:{port}; location / {{ return 200 "ok"; }} }} }}
"""


def bulk(lab: HostLab, *options: str) -> float:
    """Return what iperf3 received, in Gbit/s, by eight streams."""
    argv = ["iperf3", "-c", WORLD_IPV4, "-p", str(IPERF_PORT), "-t", str(SECONDS), "-P", "8", "-J", *options]
    end = json.loads(lab.host.run(*argv).stdout)["end"]
    return float(end["sum_received"]["bits_per_second"]) / 1e9


def requests(lab: HostLab, *options: str) -> float:
    """Return what wrk got answered on 32 connections, per second."""
    url = f"http://{WORLD_IPV4}:{HTTP_PORT}/"
    argv = ["wrk", "-t", "1", "-c", "32", "-d", f"{SECONDS}s", *options, url]
    found = re.search(r"Requests/sec:\s*([\d.]+)", lab.host.run(*argv).stdout)
    assert found, "wrk said nothing"
    return float(found[1])


LOADS: dict[str, Callable[[HostLab], float]] = {
    "connect, request, close per second": lambda lab: requests(lab, "-H", "Connection: close"),
    "requests per second, kept": requests,
    "up, Gbit/s": bulk,
    "down, Gbit/s": lambda lab: bulk(lab, "-R"),
}


@contextlib.contextmanager
def serving(lab: HostLab) -> Iterator[None]:
    """Have servers of HTTP and iperf3 run in the world."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "nginx.conf")
        config.write_text(NGINX.format(dir=scratch, address=WORLD_IPV4, port=HTTP_PORT))
        servers = [
            lab.world.spawn("nginx", "-c", str(config), log=Path(scratch, "nginx.log")),
            lab.world.spawn("iperf3", "-s", "-p", str(IPERF_PORT), log=Path(scratch, "iperf3.log")),
        ]
        try:
            assert eventually(lambda: all(is_open(lab, port) for port in (HTTP_PORT, IPERF_PORT)))
            yield
        finally:
            for server in servers:
                server.stop()


def is_open(lab: HostLab, port: int) -> bool:
    try:
        lab.host.connect(WORLD_IPV4, port, timeout=1).close()
    except OSError:
        return False
    return True


def measure(workers: int) -> dict[str, float]:
    """Return the figures of one run."""
    with HostLab() as lab, serving(lab):
        if workers:
            lab.start_up("--tun", f"scale{workers}", "--workers", str(workers))
        return {name: load(lab) for name, load in LOADS.items()}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    missing = [program for program in ("nginx", "wrk", "iperf3") if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        sys.exit(f"needs root, and {', '.join(missing) or 'nothing else'}")
    print(f"{describe()}, {len(os.sched_getaffinity(0))} processors, {rounds} rounds\n")
    found = [{workers: measure(workers) for workers in WORKERS} for _ in range(rounds)]
    heads = ["no proxy" if not workers else f"{workers} worker{'s'[: workers > 1]}" for workers in WORKERS]
    print(f"{'':36}" + "".join(f"{head:>12}" for head in heads))
    for name in LOADS:
        medians = (statistics.median(each[workers][name] for each in found) for workers in WORKERS)
        print(f"{name:36}" + "".join(f"{median:12,.1f}" for median in medians))


if __name__ == "__main__":
    main()
