"""Throughput of whole connections beside the bare kernel's, in namespaces of our own (needs root).

    python tests/bench/end_to_end.py [ROUNDS]

The same loads run in turn through tunproxy and without it, ROUNDS times (default 3); the table has the
medians and the ratio. Machines are noisy and differ: only the ratio within one run means anything.
"""

import itertools
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # for tests.*; behind what is installed

from tests.system.lab import IPV4, IPV6, Family, Lab
from tunproxy.version import describe

SECONDS = 3
IPERF_PORT, HTTP_PORT = 5201, 8080
NGINX = """daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4000; multi_accept on; }}
http {{ access_log off; keepalive_requests 1000000000;
  server {{ listen {port}; listen [::]:{port}; location / {{ return 200 "{body}"; }} }} }}
"""


def gbits(lab: Lab, family: Family, *options: str) -> float:
    """Return what iperf3 received, in Gbit/s."""
    argv = ["iperf3", "-c", family.host, "-p", str(IPERF_PORT), "-t", str(SECONDS), "-J", *options]
    end = json.loads(lab.client.run(*argv).stdout)["end"]
    return float(end["sum_received"]["bits_per_second"]) / 1e9


def requests(lab: Lab, family: Family, connections: int) -> float:
    """Return what wrk got answered, in thousand requests per second."""
    argv = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{SECONDS}s", family.url(HTTP_PORT)]
    found = re.search(r"Requests/sec:\s*([\d.]+)", lab.client.run(*argv).stdout)
    assert found, "wrk said nothing"
    return float(found[1]) / 1e3


LOADS: dict[str, Callable[[Lab], float]] = {
    "TCP up, 1 stream, Gbit/s": lambda lab: gbits(lab, IPV4),
    "TCP down, 1 stream, Gbit/s": lambda lab: gbits(lab, IPV4, "-R"),
    "TCP up, IPv6, Gbit/s": lambda lab: gbits(lab, IPV6),
    "TCP down, IPv6, Gbit/s": lambda lab: gbits(lab, IPV6, "-R"),
    "TCP up, 8 streams, Gbit/s": lambda lab: gbits(lab, IPV4, "-P", "8"),
    "TCP down, 8 streams, Gbit/s": lambda lab: gbits(lab, IPV4, "-P", "8", "-R"),
    "HTTP, 50 kept connections, k/s": lambda lab: requests(lab, IPV4, 50),
    "HTTP, 1 kept connection, k/s": lambda lab: requests(lab, IPV4, 1),
}


def serve(lab: Lab) -> None:
    """Start the servers in the lab."""
    conf = lab.scratch / "nginx.conf"
    conf.write_text(NGINX.format(dir=lab.scratch, port=HTTP_PORT, body="x" * 1024))
    lab.start(lab.server, "nginx", "-c", str(conf), "-p", str(lab.scratch))
    lab.start(lab.server, "iperf3", "-s", "-p", str(IPERF_PORT))
    time.sleep(1)


def measure(kind: str) -> dict[str, float]:
    """Run every load once in a lab of this kind ("kernel" or "proxy")."""
    os.environ["TUNPROXY_LAB"] = kind
    found = {}
    with tempfile.TemporaryDirectory(prefix="tunproxy-bench-") as scratch:
        Path(scratch).chmod(0o755)
        with Lab(Path(scratch)) as lab:
            serve(lab)
            for name, load in LOADS.items():
                found[name] = load(lab)
                print(f"  {kind:7} {name:32} {found[name]:8.2f}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, then print the table."""
    missing = [name for name in ("iperf3", "wrk", "nginx", "ip") if shutil.which(name) is None]
    if os.geteuid() or missing:
        why = (
            f"not installed: {', '.join(missing)}" if missing else "it makes network namespaces (run as root)"
        )
        print(f"left out the end-to-end benchmark: {why}", file=sys.stderr)
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    runs: dict[str, list[dict[str, float]]] = {"kernel": [], "proxy": []}
    for _, kind in itertools.product(range(rounds), runs):
        runs[kind].append(measure(kind))
    print(f"{describe()}, median of {rounds}")
    print(f"{'':34}{'no proxy':>10}{'tunproxy':>10}{'ratio':>8}")
    for name in LOADS:
        bare, ours = (statistics.median(run[name] for run in runs[kind]) for kind in ("kernel", "proxy"))
        print(f"{name:34}{bare:10.2f}{ours:10.2f}{ours / bare:8.2f}")


if __name__ == "__main__":
    main()
