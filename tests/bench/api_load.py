"""What looking costs: processor time of a worker with many flows, alone and with many dashboards.

    python -m tests.bench.api_load [--flows N] [--dashboards N] [--seconds N] [--rounds N]

Needs root and iperf3; it makes namespaces of its own (``hostlab``). Each dashboard is a WebSocket for
/connections, once a second; one of them reads what it gets, for the others the kernel drops it unread. First
the other flows are idle; then, in each round, there is one stream up, with nobody, with one dashboard and
with all of them. What supervisor and dashboards do takes processors from the stream, too: what the packet
path itself loses shows in what a second of the worker's processor time carries.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import select
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.system.hostlab import WORLD_IPV4, HostLab

PORT = 9090
PORTS = 4  # of the server, so that one client has enough of its own
STREAM_PORT = 5201


def cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Return the megabytes of memory that only this process holds."""
    text = Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2]
    return int(text.split()[0]) / 1024


def main(flows: int, dashboards: int, seconds: float, rounds: int) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["XDG_STATE_HOME"] = str(folder)
        lab = stack.enter_context(HostLab())
        listeners = [stack.enter_context(lab.world.listen(WORLD_IPV4, 0)) for _ in range(PORTS)]
        config = folder / "tunproxy.toml"
        config.write_text(
            f'rules = ["DOMAIN,a.example,REJECT"]\n[dns]\nmode = "off"\n[api]\nlisten = "127.0.0.1:{PORT}"\n'
        )
        process = lab.start_up("--tun", "load0", "--config", str(config), "--workers", "1")
        stack.callback(
            lab.world.spawn("iperf3", "-s", "-p", str(STREAM_PORT), log=folder / "iperf3.log").stop
        )
        held: list[socket.socket] = []
        threading.Thread(target=_accept, args=(listeners, held), daemon=True).start()
        clients = []
        for number in range(flows):
            port = listeners[number % PORTS].getsockname()[1]
            clients.append(stack.enter_context(lab.host.connect(WORLD_IPV4, port, timeout=20)))
        secret = (folder / "tunproxy" / "api-secret").read_text().strip()
        with lab.host.entered():
            asyncio.run(_measure(process.pid, secret, flows, dashboards, seconds, rounds))


def _accept(listeners: list[socket.socket], held: list[socket.socket]) -> None:
    """Accept whoever comes, until the listeners are closed."""
    with contextlib.suppress(OSError, ValueError):
        while True:
            for ready in select.select(listeners, [], [])[0]:
                held.append(ready.accept()[0])


async def _measure(
    supervisor: int, secret: str, flows: int, dashboards: int, seconds: float, rounds: int
) -> None:
    headers = {"Authorization": f"Bearer {secret}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{PORT}", headers=headers) as session:
        async with session.get("/status") as answer:
            worker = (await answer.json())["workers"][0]["pid"]
        print(f"{flows} flows, {dashboards} dashboards, {seconds:g} s each")
        counts = (0, 1, dashboards)
        for count in counts:
            async with _looking(session, secret, count) as lists:
                before = len(lists)
                await _period(f"{count} look", supervisor, worker, seconds)
            if count:
                print(
                    f"  {(len(lists) - before) / seconds:.1f} lists a second, of {lists[0]} octets at first"
                )
        carried: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
        for _ in range(rounds):
            for count in counts:
                async with _looking(session, secret, count):
                    speed, efficiency = await _stream(worker, seconds)
                carried[count].append((speed, efficiency))
                print(f"{count} look: {speed:.2f} Gbit/s, {efficiency:.2f} Gbit a CPU-second")
        for count in counts[1:] if rounds else ():
            pairs = list(zip(carried[count], carried[0], strict=True))
            speed, efficiency = (statistics.median(some[i] / none[i] for some, none in pairs) for i in (0, 1))
            print(
                f"{count} look, to nobody: {speed:.3f} of the throughput, {efficiency:.3f} of it a CPU-second"
            )


@contextlib.asynccontextmanager
async def _looking(session: aiohttp.ClientSession, secret: str, count: int) -> AsyncIterator[list[int]]:
    """Have so many dashboards look; yields the lengths of what the first has read. The others cost little."""
    lists: list[int] = []

    async def look() -> None:
        async with session.ws_connect("/connections?interval=1000", max_msg_size=0) as web_socket:
            async for message in web_socket:
                lists.append(len(message.data))

    with contextlib.ExitStack() as stack:
        tasks = [asyncio.create_task(look())] if count else []
        for _ in range(count - 1):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", PORT)))
            await _upgrade(sock, secret)
            asyncio.get_running_loop().add_reader(sock, sock.recv, 64 << 20, socket.MSG_TRUNC)
            stack.callback(asyncio.get_running_loop().remove_reader, sock)
        await asyncio.sleep(3)
        try:
            yield lists
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _upgrade(sock: socket.socket, secret: str) -> None:
    """Make a WebSocket of a connection, whose octets the kernel is to drop afterwards (tcp(7): MSG_TRUNC)."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    await loop.sock_sendall(
        sock,
        f"GET /connections?interval=1000 HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
        f"Authorization: Bearer {secret}\r\n\r\n".encode(),
    )
    head = await loop.sock_recv(sock, 12)
    if head != b"HTTP/1.1 101":
        raise RuntimeError(f"no WebSocket: {head!r}")


async def _stream(worker: int, seconds: float) -> tuple[float, float]:
    """Return what one stream up carries: Gbit/s, and Gbit per second of the worker's processor time."""
    argv = ["iperf3", "-c", WORLD_IPV4, "-p", str(STREAM_PORT), "-t", f"{seconds:g}", "-J"]
    before = cpu(worker)
    client = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    out, _ = await asyncio.wait_for(client.communicate(), seconds + 30)
    used = cpu(worker) - before
    received = json.loads(out)["end"]["sum_received"]
    return received["bits_per_second"] / 1e9, received["bytes"] * 8e-9 / used


async def _period(words: str, supervisor: int, worker: int, seconds: float) -> None:
    pids = worker, supervisor
    before, began = [cpu(pid) for pid in pids], time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    used = [100 * (cpu(pid) - was) / passed for pid, was in zip(pids, before, strict=True)]
    print(
        f"{words}: worker {used[0]:.2f} % of a processor, supervisor {used[1]:.1f} %, "
        f"which holds {memory(supervisor):.0f} MB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--dashboards", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.flows, given.dashboards, given.seconds, given.rounds)
