"""Several workers on one device: who gets which packets, and what becomes of them when one is killed.

The picture of the namespaces is in ``hostlab``.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest

from tests.system.hostlab import (
    TUNPROXY,
    WORLD_IPV4,
    WORLD_IPV6,
    HostLab,
    eventually,
    host_for_tests,
    read_line,
)
from tests.system.peers import tcp_echo
from tunproxy.control.client import ask_reload, choose, fetch_flow, fetch_flows, fetch_status
from tunproxy.control.endpoint import ALIVE, look_at
from tunproxy.errors import TunproxyError

pytestmark = pytest.mark.timeout(90)

TUN = f"wk{os.getpid() % 100_000}"  # others may run on this machine: we ask for ours by name
Process = subprocess.Popen[str]
STARTED: list[Process] = []
MANY = 40  # flows, of which each of two workers has some: the kernel draws lots for their ports
NEW = 20.0  # seconds within which something new must work; a second, on a machine that is not busy


module_lab = pytest.fixture(scope="module", name="module_lab")(host_for_tests)


@pytest.fixture
def lab(module_lab: HostLab) -> Iterator[HostLab]:
    """A host on which nothing of ours runs."""
    yield module_lab
    for process in STARTED:
        process.terminate()  # killed, it would leave rules for the next one
        process.wait(20)
    STARTED.clear()
    module_lab.stop_all()


def start(lab: HostLab, *options: str) -> Process:
    process = lab.start_up("--tun", TUN, *options)
    STARTED.append(process)
    await_socket()
    return process


def await_socket() -> None:
    """Return once what we have started can be asked, which is a moment after its start-up line."""
    assert eventually(lambda: look_at(Path(f"/run/tunproxy/{TUN}.sock")).state == ALIVE, 20)


def start_line(process: Process) -> str:
    return str(process.start_line)  # type: ignore[attr-defined]


def workers_of(supervisor: Process) -> list[int]:
    """Return the process ids of the workers, the oldest first."""
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text()
    return [int(each) for each in children.split()]


def ours() -> Path:
    """Return the control socket of the tunproxy that we have started."""
    return choose(TUN).path


def rows(state: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch_flows(ours(), 1000, state)["flows"]
    return found


@contextlib.contextmanager
def udp_mirrors(lab: HostLab, address: str, count: int) -> Iterator[list[int]]:
    """Answer datagrams at so many ports of the world with the port that they come from, and their length."""
    ended = threading.Event()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    socks = []
    for _ in range(count):
        with lab.world.entered():
            sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, 0))
        sock.settimeout(0.1)
        socks.append(sock)

    def serve(sock: socket.socket) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                data, peer = sock.recvfrom(65536)
                sock.sendto(f"{peer[1]} {len(data)}".encode(), peer)

    threads = [threading.Thread(target=serve, args=(sock,), daemon=True) for sock in socks]
    for thread in threads:
        thread.start()
    try:
        yield [sock.getsockname()[1] for sock in socks]
    finally:
        ended.set()
        for thread, sock in zip(threads, socks, strict=True):
            thread.join(5)
            sock.close()


def says(client: socket.socket, word: bytes = b"word") -> bool:
    """Tell whether the other end still echoes what client says."""
    try:
        client.sendall(word)
        return client.recv(100) == word
    except OSError:
        return False


def port_seen(client: socket.socket, address: str, port: int, payload: bytes) -> int:
    """Return the port that a datagram of client's comes from in the world, which tells its length back."""
    client.settimeout(7)
    for _ in range(3):  # datagrams may be lost
        client.sendto(payload, (address, port))
        with contextlib.suppress(TimeoutError):
            while True:  # past what comes too late, for what was sent before
                answer, source = client.recvfrom(100)
                seen, length = answer.split()
                if source[:2] == (address, port) and int(length) == len(payload):
                    return int(seen)
    raise AssertionError("no answer")


def udp_client(lab: HostLab, address: str) -> socket.socket:
    with lab.host.entered():
        return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def start_without_bpf(lab: HostLab, *options: str) -> Process:
    """Start up where the kernel takes no program from us."""
    program = (
        "import ctypes, os, sys\n"
        # PR_CAPBSET_DROP of CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF
        "for capability in (21, 38, 39): ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = lab.start(sys.executable, "-c", program, *TUNPROXY, "up", "--tun", TUN, *options)
    assert process.stderr is not None
    process.start_line = read_line(process.stderr)  # type: ignore[attr-defined]
    STARTED.append(process)
    await_socket()
    return process


def kill_and_await(process: Process, victim: int) -> None:
    """Kill a worker, and return when another one serves in its place."""
    restarts = sum(worker["restarts"] for worker in fetch_status(ours())["workers"])

    def is_replaced() -> bool:
        told = fetch_status(ours())["workers"]
        return sum(w["restarts"] for w in told) > restarts and all(
            w.get("pid", victim) != victim for w in told
        )

    os.kill(victim, signal.SIGKILL)
    assert eventually(is_replaced, 20)


def addresses_of(lab: HostLab, name: str) -> set[str]:
    """Ask somebody, whoever it is, at port 53."""
    question = dns.message.make_query(name, "A")
    with lab.host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(20)
        sock.sendto(question.to_wire(), ("203.0.113.53", 53))
        answer = dns.message.from_wire(sock.recv(4096))
    assert answer.rcode() == dns.rcode.NOERROR, answer
    return {str(item) for record in answer.answer for item in record}


def names_seen(lab: HostLab, address: str, port: int) -> set[tuple[str, str]]:
    """Connect some times, and return what the flows say of the name that is meant, and whence it is known."""
    known = {row["number"] for row in rows()}
    for _ in range(MANY):
        with contextlib.suppress(OSError):
            lab.host.connect(address, port, timeout=20).close()
    fresh = [row for row in rows() if row["number"] not in known and row["protocol"] == "tcp"]
    assert len(fresh) >= MANY  # a SYN that is sent again once its flow was refused makes another one
    assert {row["number"] % 2 for row in fresh} == {0, 1}, "all came to one worker"
    return {(row["name"], row["name_from"]) for row in fresh}


# who gets what


def test_workers_share_flows_and_status_adds_them_up(lab: HostLab) -> None:
    count = 4
    process = start(lab, "--workers", str(count))
    assert len(workers_of(process)) == count
    assert f"{count} workers: packets by client's port (eBPF)" in start_line(process)
    with tcp_echo(lab.world, WORLD_IPV4) as port, contextlib.ExitStack() as clients:
        for _ in range(2 * MANY):
            client = clients.enter_context(lab.host.connect(WORLD_IPV4, port, timeout=10))
            assert says(client)
        status = fetch_status(ours())
        flows = rows("open")
    assert status["flows"]["tcp"] == status["counters"]["flows_opened"] == 2 * MANY
    assert [worker["number"] for worker in status["workers"]] == list(range(count))
    assert {worker["pid"] for worker in status["workers"]} == set(workers_of(process))
    numbers = [flow["number"] for flow in flows]
    assert len(set(numbers)) == 2 * MANY
    assert {number % count for number in numbers} == set(range(count)), "somebody has nothing to do"
    assert [flow["age_seconds"] for flow in flows] == sorted(flow["age_seconds"] for flow in flows)
    for flow in flows[:4]:
        assert fetch_flow(ours(), flow["number"])["number"] == flow["number"]
    assert_confined(process)
    workers = workers_of(process)
    process.kill()  # nobody is left then, and nothing
    assert process.wait(20) == -signal.SIGKILL
    assert eventually(lambda: not any(Path(f"/proc/{each}").exists() for each in workers), 20)
    assert eventually(lambda: not lab.has_link(TUN), 20)
    assert lab.run(*TUNPROXY, "rescue").returncode == 0


def assert_confined(process: Process) -> None:
    """The workers have one queue each, no capabilities, and what the kernel has to keep them in."""
    for worker in workers_of(process):
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{worker}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert {status[kind].strip("0") for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
        assert status["NoNewPrivs"] == "1"
        links = [os.readlink(link) for link in Path(f"/proc/{worker}/fd").iterdir()]
        assert links.count("/dev/net/tun") == 1
    given_up = fetch_status(ours())["sandbox"]
    assert given_up["landlock"] == "on" or "kernel" in given_up["landlock"]
    assert given_up["seccomp"] == "on" or "missing" in given_up["seccomp"]


@pytest.mark.parametrize("is_steered", [True, False], ids=["ebpf", "hash"])
def test_workers_udp_port_is_one_port_whoever_it_writes_to_and_in_pieces(
    lab: HostLab, is_steered: bool
) -> None:
    """RFC 4787 REQ-1. A fragment has no port to choose a worker by, and its datagram must get there.

    Where the kernel does not take our program, workers hand each other what is not theirs.
    """
    process = start(lab, "--workers", "2") if is_steered else start_without_bpf(lab, "--workers", "2")
    who = "by client's port (eBPF)" if is_steered else "by the kernel's own hash (it takes CAP_BPF)"
    assert f"2 workers: packets {who}" in start_line(process)
    for address in (WORLD_IPV4, WORLD_IPV6):
        with udp_mirrors(lab, address, 4) as ports:
            for _ in range(6):  # so that both workers have some
                with udp_client(lab, address) as client:
                    whole = [port_seen(client, address, port, b"x" * 100) for port in ports]
                    pieces = [port_seen(client, address, port, b"x" * 4000) for port in ports]
                    assert len({*whole, *pieces}) == 1
    with tcp_echo(lab.world, WORLD_IPV4) as port, contextlib.ExitStack() as clients:
        for _ in range(MANY):
            assert says(clients.enter_context(lab.host.connect(WORLD_IPV4, port, timeout=10)))
        assert {row["number"] % 2 for row in rows("open")} == {0, 1}
    assert fetch_status(ours())["steering"] == who


def test_workers_all_know_what_one_has_answered_and_change_policy_together(
    lab: HostLab, tmp_path: Path
) -> None:
    config = tmp_path / "tunproxy.toml"
    common = '[dns]\nservers = ["198.51.100.53"]\nhosts-file = false\nfake-ip-file = ""\n'
    config.write_text(f'{common}hosts = {{ "a.test" = ["{WORLD_IPV4}"] }}\n')
    process = start(lab, "--workers", "2", "--config", str(config))
    with tcp_echo(lab.world, WORLD_IPV4) as port:
        assert addresses_of(lab, "a.test") == {WORLD_IPV4}
        assert names_seen(lab, WORLD_IPV4, port) == {("a.test", "dns")}
        # a policy that cannot be: nothing changes
        config.write_text("rules = [")
        with pytest.raises(TunproxyError):
            ask_reload(ours())
        assert names_seen(lab, WORLD_IPV4, port) == {("a.test", "dns")}
        rules = 'rules = ["DOMAIN,b.test,REJECT"]\n'
        config.write_text(f'{rules}{common}mode = "fake-ip"\n')
        generation = ask_reload(ours())["policy"]["generation"]  # 3 where the save was seen before
        (fake,) = addresses_of(lab, "b.test")
        assert fake.startswith("198.18.")
        assert names_seen(lab, fake, port) == {("b.test", "fake-ip")}
        # whoever takes a dead one's place is told
        for victim in workers_of(process):
            kill_and_await(process, victim)
            assert addresses_of(lab, "b.test") == {fake}
            assert names_seen(lab, fake, port) == {("b.test", "fake-ip")}
    assert {worker["restarts"] for worker in fetch_status(ours())["workers"]} == {1}
    assert fetch_status(ours())["policy"]["generation"] == generation


# when one is killed


@pytest.mark.parametrize("count", [1, 2])
def test_workers_killed_one_is_replaced_and_the_flows_of_others_go_on(lab: HostLab, count: int) -> None:
    process = start(lab, "--workers", str(count))
    before = lab.configuration()
    with tcp_echo(lab.world, WORLD_IPV4) as port, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(lab.host.connect(WORLD_IPV4, port, timeout=10)) for _ in range(24)]
        assert all(map(says, clients))
        owner = {row["client_port"]: (row["number"] - 1) % count for row in rows("open")}
        victim = next(w for w in fetch_status(ours())["workers"] if w["number"] == 0)["pid"]
        streaming = next((each for each in clients if owner[each.getsockname()[1]]), None)
        ended, moved = threading.Event(), [0]

        def stream() -> None:
            while streaming is not None and not ended.is_set():
                assert says(streaming)
                moved[0] += 1

        thread = threading.Thread(target=stream)
        thread.start()
        try:
            os.kill(victim, signal.SIGKILL)
            began = time.monotonic()
            for _ in range(16):  # some of them on the queue of the dead one
                with lab.host.connect(WORLD_IPV4, port, timeout=NEW) as fresh:
                    fresh.settimeout(NEW)
                    assert says(fresh)
            assert time.monotonic() - began < NEW
        finally:
            ended.set()
            thread.join(10)
        assert process.stderr is not None
        who = "the worker" if count == 1 else "worker 0"
        assert (
            read_line(process.stderr)
            == f"tunproxy: {who} died (killed by signal 9): another one takes its place\n"
        )
        for client in clients:  # those of the dead one are reset with their next segment, the others go on
            client.settimeout(NEW)
            assert says(client) == (owner[client.getsockname()[1]] != 0)
    if count > 1:
        assert moved[0] > 0
    story = fetch_status(ours())["workers"][0]
    assert (story["restarts"], story["last_end"]) == (1, "killed by signal 9")
    assert lab.configuration() == before


def test_workers_that_die_again_and_again_are_given_up(lab: HostLab) -> None:
    before = lab.configuration()
    process = start(lab, "--workers", "2")
    keeper, victim = workers_of(process)
    for _ in range(5):
        os.kill(victim, signal.SIGKILL)
        dead = victim
        assert eventually(lambda: dead not in workers_of(process) or process.poll() is not None, 20)  # noqa: B023
        while victim in (dead, keeper) and process.poll() is None:
            victim = max(set(workers_of(process)) - {keeper}, default=dead)
            time.sleep(0.01)
    assert process.wait(30) == 1
    assert process.stderr is not None
    how = "killed by signal 9, for the 5th time within 60 s"
    assert process.stderr.read().endswith(f"tunproxy: the worker died ({how}): routes are put back\n")
    assert lab.configuration() == before
