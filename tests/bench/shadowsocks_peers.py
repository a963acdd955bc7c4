"""One Shadowsocks stream through tunproxy and other programs' clients, in namespaces of our own (needs root).

    python tests/bench/shadowsocks_peers.py [METHOD] [ROUNDS] [SERVER]

The same load runs in turn through each client to one server, ss-server or sing-box: ROUNDS times (3), and the
table has the medians: Gbit/s, and Gbit for a second of processor time that the client took. tunproxy and
sing-box have a TUN device before them; ss-tunnel is what shadowsocks-libev has without one.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # for tests.*; behind what is installed
os.environ["PYTHONSAFEPATH"] = "1"  # what we start is the installed program as well, wherever we are started

from tests.interop.proxies import TARGET, ProxyLab
from tests.interop.shadowsocks import password_of, upstream
from tests.system.hostlab import TUNPROXY, WORLD_IPV4, eventually
from tests.system.namespace import Program
from tests.unit.rulesets.programs import find_sing_box
from tunproxy.version import describe

SECONDS = 3
SERVER, IPERF, LOCAL = 8400, 5201, 5202
TICKS = os.sysconf("SC_CLK_TCK")


def start_server(lab: ProxyLab, program: str, method: str) -> None:
    """Run the server, and what its flows are for."""
    secret = password_of(method)
    if program == "ss-server":
        argv = ["ss-server", "-s", WORLD_IPV4, "-p", str(SERVER), "-k", secret, "-m", method, "-t", "60"]
    else:
        inbound = {"type": "shadowsocks", "listen": WORLD_IPV4, "listen_port": SERVER,
                   "method": method, "password": secret}  # fmt: skip
        settings = lab.settings("server.json", json.dumps({"inbounds": [inbound]}))
        argv = [find_sing_box() or "sing-box", "run", "-c", settings]
    lab.programs["server"] = lab.world.spawn(*argv, log=lab.scratch / "server.log")
    lab.programs["iperf3"] = lab.world.spawn(
        "iperf3", "-s", "-B", TARGET, "-p", str(IPERF), log=lab.scratch / "iperf3.log"
    )
    time.sleep(1)


@contextmanager
def client(lab: ProxyLab, name: str, method: str) -> Iterator[tuple[Program, str, int]]:
    """Run a client on the host; yield it, and where the load finds the target."""
    secret = password_of(method)
    where, port = TARGET, IPERF
    if name == "tunproxy":
        text = 'default = "work"\n' + upstream("work", SERVER, method, secret)
        argv = [*TUNPROXY, "up", "--config", lab.settings("tunproxy.toml", text)]
    elif name == "sing-box":
        inbound = {
            "type": "tun",
            "address": ["172.19.0.1/30"],
            "auto_route": True,
            "stack": "system",
            "mtu": 65535,
        }
        outbound = {"type": "shadowsocks", "server": WORLD_IPV4, "server_port": SERVER,
                    "method": method, "password": secret}  # fmt: skip
        settings = {"inbounds": [inbound], "outbounds": [outbound], "log": {"level": "error"},
                    "route": {"auto_detect_interface": True}}  # fmt: skip
        argv = [find_sing_box() or "sing-box", "run", "-c", lab.settings("client.json", json.dumps(settings))]
    else:
        where, port = "127.0.0.1", LOCAL
        argv = ["ss-tunnel", "-s", WORLD_IPV4, "-p", str(SERVER), "-k", secret, "-m", method,
                "-b", where, "-l", str(LOCAL), "-L", f"{TARGET}:{IPERF}", "-t", "60"]  # fmt: skip
    program = lab.host.spawn(*argv, log=lab.scratch / f"{name}.log")
    try:
        if name == "tunproxy":
            assert eventually(lambda: "worker uid" in program.log.read_text(), 20), program.log.read_text()
        elif name == "sing-box":  # before it has its route, the load would go past it
            assert eventually(lambda: "tun" in lab.host.run("ip", "route", "get", TARGET).stdout, 20)
        else:
            time.sleep(1.5)
        assert program.process.poll() is None, program.log.read_text()
        yield program, where, port
    finally:
        program.process.terminate()
        program.stop()
        time.sleep(0.5)


def processor(pid: int) -> float:
    """Return the seconds of processor time that a process and its children have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / TICKS + sum(processor(int(child)) for child in children)


def measure(lab: ProxyLab, program: Program, where: str, port: int, *options: str) -> tuple[float, float]:
    """Return Gbit/s, and Gbit for a second of processor time."""
    before = processor(program.process.pid)
    argv = ["iperf3", "-c", where, "-p", str(port), "-t", str(SECONDS), "-J", *options]
    done = lab.host.run(*argv, timeout=60)
    took = processor(program.process.pid) - before
    try:
        received = json.loads(done.stdout)["end"]["sum_received"]
    except (KeyError, ValueError):
        raise RuntimeError(f"iperf3: {done.stdout[-300:]}{done.stderr}; {program.log.read_text()}") from None
    return received["bits_per_second"] / 1e9, received["bytes"] * 8 / 1e9 / took


def main(method: str, rounds: int, server: str) -> None:
    """Print the table."""
    clients = ["tunproxy", "sing-box"] + ["ss-tunnel"] * (not method.startswith("2022"))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with ProxyLab() as lab:
        start_server(lab, server, method)
        for _ in range(rounds):
            for name in clients:
                with client(lab, name, method) as (program, where, port):
                    for direction, options in (("up", ()), ("down", ("-R",))):
                        found.setdefault((name, direction), []).append(
                            measure(lab, program, where, port, *options)
                        )
    print(f"{describe()}; {method} to {server}, one stream, medians of {rounds}")
    for (name, direction), figures in found.items():
        speed, thrift = (statistics.median(each) for each in zip(*figures, strict=True))
        print(f"{name:10} {direction:5} {speed:6.2f} Gbit/s  {thrift:6.2f} Gbit per CPU-second")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    main(given.get(1, "aes-128-gcm"), int(given.get(2, "3")), given.get(3, "sing-box"))
