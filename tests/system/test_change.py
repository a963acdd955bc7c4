"""``tunproxy up`` on a host whose network changes under it, and with the kill switch.

The picture of the namespaces is in ``hostlab``; the host has a second way to the world besides.
"""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.system.hostlab import (
    HOST_IPV4,
    HOST_IPV6,
    ORDINARY_UID,
    ROUTER_IPV4,
    ROUTER_IPV6,
    TUNPROXY,
    UPLINK,
    WORLD_IPV4,
    WORLD_IPV6,
    HostLab,
    eventually,
    read_line,
)
from tests.system.peers import serve_clients
from tests.unit.rulesets.programs import find_mihomo
from tunproxy.control.client import fetch_status
from tunproxy.control.rescue import rescue
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6
from tunproxy.host.kill_switch import KillSwitch
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import PolicyRules

pytestmark = pytest.mark.timeout(60)

Process = subprocess.Popen[str]

TUN = "tunproxy0"
SOCKET = Path("/run/tunproxy", f"{TUN}.sock")
OTHER_IPV4, OTHER_IPV6 = "192.0.2.9", "2001:db8::9"
SECOND = "out2"
SECOND_IPV4, SECOND_ROUTER = "203.0.113.1", "203.0.113.254"


@pytest.fixture(scope="module")
def module_lab() -> Iterator[HostLab]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a host for the tests")
    with HostLab() as made:
        made.host.ip("link", "add", SECOND, "type", "veth", "peer", "name", "in2", "netns", made.world.name)
        made.host.ip("address", "add", f"{SECOND_IPV4}/24", "dev", SECOND)
        made.world.ip("address", "add", f"{SECOND_ROUTER}/24", "dev", "in2")
        made.host.ip("link", "set", SECOND, "up")
        made.world.ip("link", "set", "in2", "up")
        made.settle(SECOND)
        yield made


@pytest.fixture
def lab(module_lab: HostLab) -> Iterator[HostLab]:
    """A host on which nothing of ours runs, and is left behind."""
    module_lab.stop_all()
    clean_up(module_lab)
    before = configuration(module_lab)
    yield module_lab
    module_lab.stop_all()
    clean_up(module_lab)
    assert eventually(lambda: configuration(module_lab) == before), configuration(module_lab)


@pytest.fixture
def process(module_lab: HostLab) -> Iterator[Process]:
    """A tunproxy that serves the host, and knows what its network is like; the next test may have it, too."""
    running = serving.get(module_lab)
    if running is None or running.poll() is not None:
        clean_up(module_lab)
        running = serving[module_lab] = module_lab.start_up()
        assert eventually(lambda: network()["ipv4"] is not None)
    before = configuration(module_lab)
    yield running
    restore(module_lab)
    assert eventually(lambda: configuration(module_lab) == before), configuration(module_lab)
    assert eventually(
        lambda: network()["ipv4"] == {"link": UPLINK, "gateway": ROUTER_IPV4, "source": HOST_IPV4}
    )
    assert running.poll() is None


serving: dict[HostLab, Process] = {}


def clean_up(lab: HostLab) -> None:
    """Remove what a killed tunproxy has left."""
    assert eventually(lambda: not lab.has_link(TUN))
    with lab.host.entered():
        rescue()
    restore(lab)


def told(process: Process, text: str) -> str:
    """Return the next line of tunproxy's in which text is."""
    assert process.stderr is not None
    while line := read_line(process.stderr):
        if text in line:
            return line
    raise AssertionError(f"tunproxy does not say {text!r}")


def restore(lab: HostLab) -> None:
    """Make the addresses and routes of the uplink what they were."""
    lab.host.ip("link", "set", UPLINK, "up")
    for address in (OTHER_IPV4 + "/24", OTHER_IPV6 + "/64"):
        lab.host.run("ip", "address", "del", address, "dev", UPLINK)
    lab.host.ip("address", "replace", f"{HOST_IPV4}/24", "dev", UPLINK)
    lab.host.ip("address", "replace", f"{HOST_IPV6}/64", "dev", UPLINK, "nodad")
    for router in (ROUTER_IPV4, ROUTER_IPV6):
        lab.host.ip("route", "replace", "default", "via", router)


@contextlib.contextmanager
def talker(lab: HostLab, address: str) -> Iterator[tuple[int, list[tuple[socket.socket, str]]]]:
    """Serve TCP in the world: accept, and keep the connections. Yields the port, and who came from where."""
    guests: list[tuple[socket.socket, str]] = []

    def keep(client: socket.socket, peer: str) -> None:
        guests.append((client, peer))
        client.sendall(b"hello\n")

    with serve_clients(lab.world, address, keep) as port:
        try:
            yield port, guests
        finally:
            for client, _ in guests:
                client.close()


def network() -> dict[str, object]:
    """Return what tunproxy knows of the network."""
    found: dict[str, object] = fetch_status(SOCKET)["network"]
    return found


def replace_address(lab: HostLab, old: str, new: str, bits: int, router: str) -> None:
    """Do as a DHCP client that gets another lease."""
    lab.host.ip("address", "del", f"{old}/{bits}", "dev", UPLINK)
    lab.host.ip("address", "add", f"{new}/{bits}", "dev", UPLINK, *(["nodad"] if bits == 64 else []))
    lab.host.ip("route", "replace", "default", "via", router)


FAMILIES = [
    pytest.param(WORLD_IPV4, HOST_IPV4, OTHER_IPV4, 24, ROUTER_IPV4, id="ipv4"),
    pytest.param(WORLD_IPV6, HOST_IPV6, OTHER_IPV6, 64, ROUTER_IPV6, id="ipv6"),
]


@pytest.mark.parametrize(("world", "old", "new", "bits", "router"), FAMILIES)
def test_change_address_replaced_resets_its_connections_and_new_ones_work(
    module_lab: HostLab, process: Process, world: str, old: str, new: str, bits: int, router: str
) -> None:
    lab = module_lab
    with talker(lab, world) as (port, guests), lab.host.connect(world, port) as client:
        assert client.recv(100) == b"hello\n"
        assert guests[0][1] == old
        replace_address(lab, old, new, bits, router)
        client.settimeout(30)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        with lab.host.connect(world, port) as another:
            assert another.recv(100) == b"hello\n"
        assert guests[1][1] == new


def test_change_that_is_none_of_ours_resets_nothing(module_lab: HostLab, process: Process) -> None:
    """An address more, a route more, another link down: what has a way keeps it."""
    lab, seen = module_lab, network()["changes"]
    with talker(lab, WORLD_IPV4) as (port, guests), lab.host.connect(WORLD_IPV4, port) as client:
        assert client.recv(100) == b"hello\n"
        lab.host.ip("address", "add", OTHER_IPV4 + "/24", "dev", UPLINK)
        lab.host.ip("route", "add", "198.51.100.128/25", "via", ROUTER_IPV4)
        lab.host.ip("link", "set", SECOND, "down")
        assert eventually(lambda: network()["changes"] != seen)
        then = network()["changes"]
        lab.host.ip("address", "del", OTHER_IPV4 + "/24", "dev", UPLINK)
        assert eventually(lambda: network()["changes"] != then)
        lab.host.ip("route", "del", "198.51.100.128/25")
        lab.host.ip("link", "set", SECOND, "up")
        guests[0][0].sendall(b"still there\n")
        assert client.recv(100) == b"still there\n"
        client.sendall(b"so am I\n")
        guests[0][0].settimeout(30)
        assert guests[0][0].recv(100) == b"so am I\n"


def worker_pids(process: Process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_change_default_route_moved_to_another_link_is_followed(
    module_lab: HostLab, process: Process
) -> None:
    lab = module_lab
    with talker(lab, WORLD_IPV4) as (port, guests):
        lab.host.ip("route", "replace", "default", "via", SECOND_ROUTER)
        assert eventually(lambda: (network()["ipv4"] or {}).get("link") == SECOND)
        with lab.host.connect(WORLD_IPV4, port) as client:
            assert client.recv(100) == b"hello\n"
        assert guests[0][1] == SECOND_IPV4
    assert told(process, f"the way out is another one: {SECOND} via {SECOND_ROUTER} as {SECOND_IPV4}")


def test_change_uplink_down_and_up_again(module_lab: HostLab, process: Process) -> None:
    """While there is no way, a flow fails at once; when there is one again, the next flow finds it."""
    lab = module_lab
    with talker(lab, WORLD_IPV4) as (port, _):
        lab.host.ip("link", "set", UPLINK, "down")
        assert eventually(lambda: network()["ipv4"] is None)
        assert eventually(lambda: any("no way out" in each for each in fetch_status(SOCKET)["problems"]))
        with pytest.raises(OSError, match="unreachable"):
            lab.host.connect(WORLD_IPV4, port)
        restore(lab)
        with lab.host.connect(WORLD_IPV4, port) as client:
            assert client.recv(100) == b"hello\n"


def test_change_what_somebody_removes_of_ours_is_put_back(module_lab: HostLab, process: Process) -> None:
    lab, before = module_lab, configuration(module_lab)
    for removal in ("rule flush", f"route flush table {TABLE}", f"link set {TUN} down"):
        put_back = int(network()["put_back"])
        lab.host.ip(*removal.split())
        if removal == "rule flush":  # takes those of the system with it, but for the first
            for number, table in (("32766", "main"), ("32767", "default")):
                lab.host.ip("rule", "add", "pref", number, "lookup", table)
        # What is removed one by one may be put back in more than one turn.
        assert eventually(lambda known=put_back: int(network()["put_back"]) > known), removal
        assert eventually(lambda: configuration(lab) == before), removal
        assert told(process, "somebody else has removed ")


def test_change_own_packets_that_come_back_are_refused_until_they_do_not(
    module_lab: HostLab, process: Process
) -> None:
    """Somebody's policy rule before ours: each flow would make another one, until no descriptor is left."""
    lab = module_lab
    with (
        lab.greeter(lab.world, WORLD_IPV4) as (port, visitors),
        lab.greeter(lab.world, WORLD_IPV6) as (port6, _),
    ):
        lab.host.ip("rule", "add", "pref", "100", "lookup", str(TABLE))
        try:
            assert "new flows over IPv4 are refused" in told(process, "loop: our own packets come back")
            with pytest.raises(ConnectionRefusedError):
                lab.host.connect(WORLD_IPV4, port)
            with lab.host.datagram("0.0.0.0") as client:
                client.connect((WORLD_IPV4, 9))
                client.send(b"x")
                with pytest.raises(ConnectionRefusedError):
                    client.recv(100)
            assert lab.hear(WORLD_IPV6, port6) == "hello\n"
            assert eventually(lambda: fetch_status(SOCKET)["flows"]["tcp"] < 50)
        finally:
            lab.host.ip("rule", "del", "pref", "100")
        assert eventually(lambda: not fetch_status(SOCKET)["problems"])
        assert eventually(lambda: greets(lab, port))
        assert visitors == [HOST_IPV4]


def test_change_what_goes_past_us_is_told_as_long_as_it_does(module_lab: HostLab, process: Process) -> None:
    lab = module_lab
    lab.host.ip("rule", "add", "pref", "100", "lookup", "main")
    try:
        assert f"leads it out at {UPLINK}" in told(process, "what programs send over IPv4 goes past us")
        assert eventually(lambda: any("goes past us" in each for each in fetch_status(SOCKET)["problems"]))
    finally:
        lab.host.ip("rule", "del", "pref", "100")
    assert eventually(lambda: not fetch_status(SOCKET)["problems"])


def greets(lab: HostLab, port: int) -> bool:
    with contextlib.suppress(OSError):
        return lab.hear(WORLD_IPV4, port) == "hello\n"
    return False


def configuration(lab: HostLab) -> list[str]:
    """Return what may not change, in an order of its own: what is made anew stands elsewhere."""
    return sorted(lab.configuration().splitlines())


# the kill switch


class Sniffer:
    """Collects what arrives in the world by its first link, as IP packets."""

    def __init__(self, lab: HostLab) -> None:
        self._sock = lab.world.make_socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
        self._sock.bind(("in", 3))
        self._sock.setblocking(False)

    def __enter__(self) -> "Sniffer":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def packets_to(self, *targets: str) -> list[bytes]:
        """Return the packets to these addresses that have arrived since the last call."""
        packed = [
            socket.inet_pton(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in targets
        ]
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (_, protocol, kind, *_) = self._sock.recvfrom(65_536)
                if kind == 4:  # PACKET_OUTGOING
                    continue
                target = {0x0800: packet[16:20], 0x86DD: packet[24:40]}.get(protocol)
                if target in packed:
                    found.append(packet)
        return found


def try_to_leave(lab: HostLab) -> dict[str, str]:
    """Have programs try to reach the world in all ways they know; return what became of each."""
    found = {}
    for name, make in (
        ("tcp", lambda: lab.host.connect(WORLD_IPV4, 9, timeout=3)),
        ("tcp ipv6", lambda: lab.host.connect(WORLD_IPV6, 9, timeout=3)),
        ("udp", lambda: lab.host.make_socket(kind=socket.SOCK_DGRAM).sendto(b"x", (WORLD_IPV4, 9))),
        ("dns", lambda: lab.host.make_socket(kind=socket.SOCK_DGRAM).sendto(b"x", (ROUTER_IPV4, 53))),
        ("bound address", lambda: bound(lab, HOST_IPV4).sendto(b"x", (WORLD_IPV4, 9))),
        ("bound address ipv6", lambda: bound(lab, HOST_IPV6).sendto(b"x", (WORLD_IPV6, 9))),
        ("bound link", lambda: bound(lab, HOST_IPV4, UPLINK).sendto(b"x", (WORLD_IPV4, 9))),
        ("bound link ipv6", lambda: bound(lab, HOST_IPV6, UPLINK).sendto(b"x", (WORLD_IPV6, 9))),
    ):
        try:
            made = make()
            found[name] = "left"
            if isinstance(made, socket.socket):
                made.close()
        except OSError as error:
            found[name] = type(error).__name__
    return found


def bound(lab: HostLab, address: str, link: str = "") -> socket.socket:
    """Return a UDP socket bound to an address of the host, or to a link instead."""
    made = lab.host.make_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if link:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
    else:
        made.bind((address, 0))
    return made


def nft_tables(lab: HostLab) -> str:
    return lab.host.run("nft", "list", "tables").stdout


def kill(process: Process) -> None:
    """End everything of tunproxy's by force, and return when the device is gone."""
    workers = worker_pids(process)
    os.kill(process.pid, signal.SIGKILL)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(20)
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.needs("nft")
def test_change_kill_switch_lets_nothing_leave_after_kill_9_until_the_next_start(lab: HostLab) -> None:
    before = configuration(lab)
    process = lab.start_up("--kill-switch")
    assert "kill switch on" in process.start_line  # type: ignore[attr-defined]
    assert fetch_status(SOCKET)["kill_switch"]["is_on"] is True
    assert_served(lab, WORLD_IPV4)
    with lab.greeter(lab.world, ROUTER_IPV4) as (port, visitors), Sniffer(lab) as sniffer:
        assert lab.hear(ROUTER_IPV4, port) == "hello\n"
        try_to_leave(lab)
        assert eventually(lambda: sniffer.packets_to(WORLD_IPV4, WORLD_IPV6))  # by the worker
        kill(process)
        sniffer.packets_to()
        tried = try_to_leave(lab)
        assert sniffer.packets_to(WORLD_IPV4, WORLD_IPV6) == []
        assert "left" not in {tried[name] for name in ("tcp", "tcp ipv6", "udp")}
        assert lab.hear(ROUTER_IPV4, port) == "hello\n", "a neighbour cannot be reached"
        assert visitors == [HOST_IPV4] * 2
        nobody = lab.run(*TUNPROXY, "status")
        assert (nobody.returncode, "the kill switch holds" in nobody.stderr) == (3, True), nobody.stderr
        assert "kill switch" in lab.run(*TUNPROXY, "doctor").stdout
        failed = lab.run(*TUNPROXY, "up", "--kill-switch", "--config", "/nowhere.toml")
        assert (failed.returncode, "the kill switch holds" in failed.stderr) == (2, True), failed.stderr
        held = lab.run(*TUNPROXY, "rescue", "--after-stop", env={"SERVICE_RESULT": "signal"})
        assert (held.returncode, "the kill switch holds" in held.stdout) == (0, True), held.stderr
        process = lab.start_up("--kill-switch")
        assert sniffer.packets_to(WORLD_IPV4, WORLD_IPV6) == []
        lab.host.run("nft", "flush", "ruleset")
        assert eventually(lambda: "tunproxy_kill_switch" in nft_tables(lab)), "not put back"
        assert_served(lab, WORLD_IPV6)
    process.terminate()
    assert process.wait(20) == 0
    assert_undone(lab, before)


@pytest.mark.needs("nft")
def test_change_kill_switch_that_was_left_is_undone_by_rescue_and_by_a_start_without(lab: HostLab) -> None:
    before = configuration(lab)
    leave_kill_switch(lab)
    try_to_leave(lab)
    rescued = lab.run(*TUNPROXY, "rescue")
    assert (rescued.returncode, "the kill switch" in rescued.stdout) == (0, True), rescued.stderr
    assert_undone(lab, before)
    leave_kill_switch(lab)
    process = lab.start_up()
    assert "tunproxy_kill_switch" not in nft_tables(lab)
    assert told(process, "the kill switch of an earlier run is undone")
    process.terminate()
    assert process.wait(20) == 0
    assert_undone(lab, before)


def leave_kill_switch(lab: HostLab) -> None:
    """Leave what a tunproxy with a kill switch does that was killed."""
    rules = PolicyRules(TUN, (TUN_IPV4, TUN_IPV6), TABLE, uid=ORDINARY_UID + 1)
    with lab.host.entered(), Netlink() as net:
        rules.apply(net)
        KillSwitch(TUN, [ip_network("0.0.0.0/0"), ip_network("::/0")], rules).apply(net)
    with Sniffer(lab) as sniffer:
        try_to_leave(lab)
        assert sniffer.packets_to(WORLD_IPV4, WORLD_IPV6) == []


def assert_undone(lab: HostLab, before: list[str]) -> None:
    assert configuration(lab) == before
    assert nft_tables(lab) == ""
    with Sniffer(lab) as sniffer:
        try_to_leave(lab)
        assert eventually(lambda: sniffer.packets_to(WORLD_IPV4, WORLD_IPV6))


def assert_served(lab: HostLab, world: str) -> None:
    """A program reaches the world through us."""
    with talker(lab, world) as (port, _), lab.host.connect(world, port) as client:
        assert client.recv(100) == b"hello\n"


def restart(lab: HostLab, process: Process, *options: str) -> Process:
    process.terminate()
    assert process.wait(20) == 0
    return lab.start_up(*options)


# loops


@pytest.mark.needs("microsocks", "setpriv")
def test_change_loop_through_a_proxy_on_the_host_is_cut_and_named(lab: HostLab, tmp_path: Path) -> None:
    """The proxy's own connections are captured and go to the proxy; with its user left alone, all is well."""
    argv = (
        "setpriv",
        "--reuid",
        str(ORDINARY_UID),
        "--clear-groups",
        "microsocks",
        "-i",
        "127.0.0.1",
        "-p",
        "1080",
    )
    proxy = lab.host.spawn(*argv, log=tmp_path / "microsocks")
    try:
        assert eventually(lambda: answers(lab, "127.0.0.1", 1080))
        process = lab.start_up("--upstream", "socks5://127.0.0.1:1080")
        with talker(lab, WORLD_IPV4) as (port, guests):
            with pytest.raises(OSError, match=r"refused|reset"):
                lab.host.connect(WORLD_IPV4, port, timeout=30).recv(100)
            assert process.stderr is not None
            line = read_line(process.stderr)
            assert f"loop: flows to {WORLD_IPV4}:{port} come from microsocks" in line, line
            assert f"exclude-users = [{ORDINARY_UID}]" in line
            assert guests == []
            assert eventually(lambda: fetch_status(SOCKET)["loops"]["cut"] >= 50)
            assert any("loop: " in each for each in fetch_status(SOCKET)["problems"])
            restart(
                lab, process, "--upstream", "socks5://127.0.0.1:1080", "--exclude-user", str(ORDINARY_UID)
            )
            with lab.host.connect(WORLD_IPV4, port) as client:
                assert client.recv(100) == b"hello\n"
    finally:
        proxy.stop()


def test_change_loop_of_datagrams_is_cut_and_named(lab: HostLab, tmp_path: Path) -> None:
    """The same with UDP, and a proxy that sends each client's datagrams from another port."""
    mihomo = find_mihomo()
    if mihomo is None:
        pytest.skip("not installed: mihomo")
    settings = tmp_path / "mihomo.yaml"
    settings.write_text("socks-port: 1080\nmode: direct\nlog-level: warning\nipv6: false\n")
    proxy = lab.host.spawn(mihomo, "-d", str(tmp_path), "-f", str(settings), log=tmp_path / "mihomo.log")
    try:
        assert eventually(lambda: answers(lab, "127.0.0.1", 1080)), proxy.log.read_text()
        process = lab.start_up("--upstream", "socks5://127.0.0.1:1080")
        with lab.host.datagram("0.0.0.0") as client:
            client.sendto(b"once", (WORLD_IPV4, 777))
            assert process.stderr is not None
            line = read_line(process.stderr)
            assert f"loop: flows to {WORLD_IPV4}:777 come from mihomo" in line, line
            assert "run it as a user of its own" in line
            assert eventually(lambda: fetch_status(SOCKET)["loops"]["cut"] >= 50)
    finally:
        proxy.stop()


def answers(lab: HostLab, address: str, port: int) -> bool:
    try:
        lab.host.connect(address, port, timeout=1).close()
    except OSError:
        return False
    return True
