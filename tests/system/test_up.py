"""``tunproxy up``: whose packets go where, and what is left when it ends, in whatever way.

The picture of the namespaces is in ``hostlab``.
"""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
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
    host_for_tests,
    read_line,
)
from tunproxy.host.kept_rights import KEPT

pytestmark = pytest.mark.timeout(60)

TUN = "tunproxy0"
TUN_IPV4, TUN_IPV6 = "10.231.77.1", "fd7a:7475:6e70::1"
TABLE = "7777"
WORKER_UID = 60_777
CAP_NET_RAW = 13
FAMILIES = [
    pytest.param(WORLD_IPV4, ROUTER_IPV4, HOST_IPV4, TUN_IPV4, id="ipv4"),
    pytest.param(WORLD_IPV6, ROUTER_IPV6, HOST_IPV6, TUN_IPV6, id="ipv6"),
]

Process = subprocess.Popen[str]


module_lab = pytest.fixture(scope="module", name="module_lab")(host_for_tests)


@pytest.fixture
def lab(module_lab: HostLab) -> Iterator[HostLab]:
    """A host on which nothing of ours is left from the test before."""
    yield module_lab
    module_lab.stop_all()
    for family in ("-4", "-6"):
        for priority in set(re.findall(r"(?m)^(77\d\d):", module_lab.host.ip(family, "rule"))):
            while module_lab.host.run("ip", family, "rule", "del", "pref", priority).returncode == 0:
                pass


def worker_of(supervisor: Process) -> int:
    """Return the process id of the worker, or of one of them; 0 while there is none."""
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    return int(children[0]) if children else 0


def our_rules(lab: HostLab) -> list[str]:
    return [
        line
        for family in ("-4", "-6")
        for line in lab.host.ip(family, "rule").splitlines()
        if "77" in line[:3]
    ]


def our_routes(lab: HostLab) -> str:
    return "".join(
        lab.host.run("ip", family, "route", "show", "table", TABLE).stdout for family in ("-4", "-6")
    )


def refused(lab: HostLab, *options: str, uid: int = 0) -> str:
    """Return the one line that ``tunproxy up`` says when it does not start."""
    done = lab.run(*TUNPROXY, "up", *options, machine={"uid": uid})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tunproxy: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("tunproxy: ").strip()


def assert_direct(lab: HostLab) -> None:
    """The host's programs reach the world without us."""
    assert lab.route_to(WORLD_IPV4) == lab.route_to(WORLD_IPV6) == UPLINK
    for address in (WORLD_IPV4, WORLD_IPV6):
        with lab.greeter(lab.world, address) as (port, _):
            assert lab.hear(address, port) == "hello\n"


# whose packets go where


@pytest.mark.parametrize(("world", "router", "host", "tun"), FAMILIES)
def test_up_packets_go_where_they_should(lab: HostLab, world: str, router: str, host: str, tun: str) -> None:
    lab.start_up()
    assert lab.route_to(world) == TUN
    assert lab.route_to(world, "from", tun) == TUN
    assert lab.route_to(world, "uid", str(ORDINARY_UID)) == TUN
    assert lab.route_to(world, "uid", str(WORKER_UID)) == UPLINK
    assert lab.route_to(router) == UPLINK
    assert lab.route_to(world, "from", host) == UPLINK
    assert lab.route_to(world, "oif", UPLINK) == UPLINK
    assert lab.route_to("ff0e::1" if ":" in world else "224.0.1.1") == UPLINK
    assert lab.route_to(host) == "lo"


@pytest.mark.parametrize(("world", "router", "host", "tun"), FAMILIES)
def test_up_forwarded_packets_go_into_the_tun_where_it_is_asked_for(
    lab: HostLab, world: str, router: str, host: str, tun: str
) -> None:
    guest = "2001:db8::77" if ":" in world else "192.0.2.77"
    lab.start_up("--forwarded")
    with lab.host.changed("net/ipv4/ip_forward", "1"), lab.host.changed("net/ipv6/conf/all/forwarding", "1"):
        assert lab.route_to(world, "from", guest, "iif", UPLINK) == TUN


@pytest.mark.parametrize("address", [WORLD_IPV4, WORLD_IPV6])
@pytest.mark.parametrize("options", [(), ("--mark", "0x77"), ("--bind-interface", UPLINK)], ids=str)
def test_up_program_reaches_the_world_through_us(
    lab: HostLab, address: str, options: tuple[str, ...]
) -> None:
    lab.host.sysctl(f"net/ipv4/conf/{UPLINK}/rp_filter", "1")  # strict: in where the route goes out
    lab.start_up(*options)
    with lab.greeter(lab.world, address) as (port, visitors), lab.host.connect(address, port) as client:
        assert client.getsockname()[0] == (TUN_IPV6 if ":" in address else TUN_IPV4)
        assert client.recv(100) == b"hello\n"
    assert visitors == [HOST_IPV6 if ":" in address else HOST_IPV4]


@pytest.mark.parametrize("address", [HOST_IPV4, HOST_IPV6])
def test_up_server_on_the_host_still_answers_the_world(lab: HostLab, address: str) -> None:
    source = WORLD_IPV6 if ":" in address else WORLD_IPV4
    lab.start_up()
    with lab.greeter(lab.host, address) as (port, visitors):
        with lab.world.entered():
            client = socket.create_connection((address, port), timeout=10, source_address=(source, 0))
        with client:
            assert client.recv(100) == b"hello\n"
    assert visitors == [source]


def test_up_routes_only_what_it_is_told(lab: HostLab) -> None:
    lab.start_up("--route", "198.51.100.0/24", "--route", "2001:db8:200::/48")
    assert lab.route_to(WORLD_IPV4) == TUN
    assert lab.route_to("203.0.113.1") == UPLINK
    assert lab.route_to(WORLD_IPV6) == UPLINK
    assert lab.route_to("2001:db8:200::1") == TUN


def test_up_mark_keeps_out_of_the_tun_instead_of_the_uid(lab: HostLab) -> None:
    lab.start_up("--mark", "0x77")
    for world in (WORLD_IPV4, WORLD_IPV6):
        assert lab.route_to(world, "mark", "0x77") == UPLINK
        assert lab.route_to(world, "uid", str(WORKER_UID)) == TUN


def test_up_takes_ipv6_that_the_host_has_though_new_links_are_to_have_none(lab: HostLab) -> None:
    with lab.host.changed("net/ipv6/conf/default/disable_ipv6", "1"):
        line = start_line(lab.start_up())
    assert "routes 0.0.0.0/0 ::/0" in line
    assert (lab.route_to(WORLD_IPV4), lab.route_to(WORLD_IPV6)) == (TUN, TUN)
    with lab.greeter(lab.world, WORLD_IPV6) as (port, _):
        assert lab.hear(WORLD_IPV6, port) == "hello\n"


def test_up_without_ipv6_serves_ipv4_and_tells_when_there_is_some(lab: HostLab) -> None:
    key = "net/ipv6/conf/{}/disable_ipv6"
    try:
        with lab.host.changed(key.format("default"), "1"), lab.host.changed(key.format("all"), "1"):
            process = lab.start_up()
            assert "no ipv6 on this host" in start_line(process)
            assert lab.route_to(WORLD_IPV4) == TUN
    finally:
        lab.host.ip("address", "add", f"{HOST_IPV6}/64", "dev", UPLINK, "nodad")
        lab.host.ip("route", "add", "default", "via", ROUTER_IPV6)
    assert process.stderr is not None
    while "over IPv6 goes past us" not in (told := read_line(process.stderr)):
        assert told, "nothing is told"
    assert "start tunproxy anew" in told


# who does it


def start_line(process: Process) -> str:
    return str(process.start_line)  # type: ignore[attr-defined]


def test_up_start_line_tells_what_was_done(lab: HostLab) -> None:
    line = start_line(lab.start_up("--mtu", "9000"))
    for part in (
        TUN,
        "mtu 9000",
        "csum tso4 tso6",
        "0.0.0.0/0 ::/0",
        f"table {TABLE}",
        f"worker uid {WORKER_UID}",
    ):
        assert part in line
    assert "no ping" not in line
    assert line.startswith("tunproxy: ")


def test_up_start_line_tells_that_ping_is_not_allowed(lab: HostLab) -> None:
    with lab.host.changed("net/ipv4/ping_group_range", "1 0"):
        line = start_line(lab.start_up())
    assert "no ping (gid 60777 is outside of net.ipv4.ping_group_range)" in line


@pytest.mark.parametrize(
    ("options", "uid", "capabilities"),
    [
        ((), WORKER_UID, 0),
        (("--worker-uid", "61000"), 61_000, 0),
        (("--bind-interface", UPLINK), WORKER_UID, 0),
        (("--mark", "7"), WORKER_UID, 1 << CAP_NET_RAW),
        (("--mark", "7", "--worker-uid", "0"), 0, 1 << CAP_NET_RAW),
    ],
    ids=str,
)
def test_up_worker_has_only_the_rights_it_needs(
    lab: HostLab, options: tuple[str, ...], uid: int, capabilities: int
) -> None:
    """From Linux 5.17 on; older kernels need CAP_NET_ADMIN for a mark."""
    status = Path(f"/proc/{worker_of(lab.start_up(*options))}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split() == fields["Gid"].split() == [str(uid)] * 4
    assert fields["Groups"].strip() == ""
    assert {int(fields[kind], 16) for kind in ("CapPrm", "CapEff")} == {capabilities}
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


def test_up_supervisor_keeps_no_right_but_those_that_it_needs(lab: HostLab) -> None:
    """Nor does whoever it starts; with them it replaces a worker, and puts back what somebody removes."""
    process = lab.start_up()
    first = worker_of(process)
    os.kill(first, signal.SIGKILL)
    assert "another one takes its place" in read_line(process.stderr)  # type: ignore[arg-type]
    assert eventually(lambda: worker_of(process) not in (0, first), 20)
    for status in (*Path(f"/proc/{process.pid}/task").glob("*/status"), f"/proc/{worker_of(process)}/status"):
        try:
            lines = Path(status).read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended
            continue
        found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        kinds = ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")
        assert not [kind for kind in kinds if int(found[kind], 16) & ~sum(1 << each for each in KEPT)], status
    lab.host.ip("route", "flush", "table", TABLE)
    assert eventually(lambda: lab.route_to(WORLD_IPV4, "uid", str(ORDINARY_UID)) == TUN, 20)
    with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
        assert eventually(lambda: lab.hear(WORLD_IPV4, port) == "hello\n")


def test_up_each_worker_holds_one_queue_and_the_supervisor_all(lab: HostLab) -> None:
    """The supervisor keeps them for a worker that takes a dead one's place."""
    process = lab.start_up("--workers", "2")
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    held = [
        sum(os.readlink(link) == "/dev/net/tun" for link in Path(f"/proc/{pid}/fd").iterdir())
        for pid in (process.pid, *workers)
    ]
    assert held == [2, 1, 1]


# how it ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_told_to_stop_leaves_nothing(lab: HostLab, number: signal.Signals) -> None:
    before = lab.configuration()
    process = lab.start_up()
    assert lab.configuration() != before
    process.send_signal(number)
    assert process.wait(20) == 0
    assert lab.configuration() == before
    assert_direct(lab)


def test_up_worker_that_does_not_stop_is_killed(lab: HostLab) -> None:
    before = lab.configuration()
    process = lab.start_up()
    worker = worker_of(process)
    os.kill(worker, signal.SIGSTOP)
    process.terminate()
    assert process.wait(20) == 0
    assert not Path(f"/proc/{worker}").exists()
    assert lab.configuration() == before


def test_up_worker_killed_is_replaced_and_nothing_else_changes(lab: HostLab) -> None:
    process = lab.start_up("--workers", "1")
    before = lab.configuration()
    dead = worker_of(process)
    os.kill(dead, signal.SIGKILL)
    assert process.stderr is not None
    assert (
        read_line(process.stderr)
        == "tunproxy: the worker died (killed by signal 9): another one takes its place\n"
    )
    assert eventually(lambda: worker_of(process) not in (0, dead), 20)
    assert lab.configuration() == before
    with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
        assert lab.hear(WORLD_IPV4, port) == "hello\n"


@pytest.mark.parametrize("victims", ["supervisor", "both"])
@pytest.mark.parametrize("options", [(), ("--mark", "7")], ids=str)
def test_up_killed_leaves_no_device_no_route_and_a_working_network(
    lab: HostLab, victims: str, options: tuple[str, ...]
) -> None:
    before = lab.configuration()
    process = lab.start_up(*options)
    worker = worker_of(process)
    process.kill()
    if victims == "both":
        os.kill(worker, signal.SIGKILL)
    process.wait(20)
    assert eventually(lambda: not lab.has_link(TUN), 20)
    assert eventually(lambda: not Path(f"/proc/{worker}").exists(), 20)
    assert our_routes(lab) == ""
    assert not any(
        "unreachable" in rule or "blackhole" in rule or "prohibit" in rule for rule in our_rules(lab)
    )
    assert_direct(lab)
    again = lab.start_up()
    assert lab.route_to(WORLD_IPV4) == TUN
    assert lab.route_to(WORLD_IPV4, "uid", str(WORKER_UID)) == UPLINK
    assert lab.route_to(WORLD_IPV4, "mark", "7") == TUN, "a rule of the killed run was not replaced"
    again.terminate()
    assert again.wait(20) == 0
    assert lab.configuration() == before


def test_up_device_deleted_by_somebody_ends_with_the_network_working(lab: HostLab) -> None:
    before = lab.configuration()
    process = lab.start_up()
    lab.host.ip("link", "delete", TUN)
    assert_direct(lab)
    assert "lost the device" in read_line(process.stderr)
    assert process.wait(20) == 1
    assert lab.configuration() == before


# beside others


def test_up_second_is_refused_and_the_first_undisturbed(lab: HostLab) -> None:
    lab.start_up()
    before = lab.configuration()
    assert refused(lab, "--tun", "other0").startswith(
        "cannot serve this network namespace: another tunproxy serves it already"
    )
    assert refused(lab, "--no-route").startswith(
        f"cannot make TUN device '{TUN}': there is a device of that name"
    )
    assert lab.configuration() == before
    with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
        assert lab.hear(WORLD_IPV4, port) == "hello\n"


def test_up_table_of_somebody_else_is_left_alone(lab: HostLab) -> None:
    lab.host.ip("route", "add", "203.0.113.0/24", "dev", UPLINK, "table", TABLE)
    before = lab.configuration()
    assert refused(lab).startswith(f"cannot use routing table {TABLE}: somebody else's routes are in it")
    assert lab.configuration() == before
    lab.host.ip("route", "flush", "table", TABLE)


def test_up_rules_of_others_stay(lab: HostLab) -> None:
    lab.host.ip("rule", "add", "pref", "7772", "from", "203.0.113.9", "lookup", "main")
    before = lab.configuration()
    process = lab.start_up()
    assert any("203.0.113.9" in rule for rule in our_rules(lab))
    assert "stands among ours, and may lead packets past us: priority 7772 " in read_line(process.stderr)  # type: ignore[arg-type]
    process.terminate()
    assert process.wait(20) == 0
    assert lab.configuration() == before


def test_up_no_route_makes_the_device_and_nothing_else(lab: HostLab) -> None:
    rules = our_rules(lab)
    lab.start_up("--no-route", "--tun", "bench0", "--mtu", "9000", "--mark", "7")
    shown = lab.host.ip("-o", "address", "show", "dev", "bench0")
    assert "inet" not in shown
    link = lab.host.ip("-o", "link", "show", "dev", "bench0")
    assert "mtu 9000" in link
    assert ",UP," in link
    assert (our_rules(lab), our_routes(lab)) == (rules, "")
    lab.host.ip("address", "add", "172.19.0.1/30", "dev", "bench0")
    lab.host.ip("link", "set", "bench0", "mtu", "1500", "up")
    assert lab.route_to("172.19.0.2") == "bench0"


# bad days


def test_up_ordinary_user_is_refused(lab: HostLab) -> None:
    assert refused(lab, uid=ORDINARY_UID).startswith("cannot change routes: not permitted (run as root")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--route", "10.0.0.0/40"), "cannot route '10.0.0.0/40'"),
        (
            ("--route", "10.0.0.1/8"),
            "cannot route '10.0.0.1/8': the address has bits behind its prefix (write 10.0.0.0/8)",
        ),
        (("--route", "::/0", "--no-route"), "invalid value: --route and --no-route exclude each other"),
        (("--worker-uid", "0"), "cannot use worker uid 0"),
        (("--worker-uid", "x"), "invalid value for '--worker-uid': 'x' is not a number"),
        (("--bind-interface", "nix"), "cannot bind to interface 'nix': there is none"),
        (("--mtu", "70000"), "cannot use mtu 70000"),
        (("--tun", UPLINK), f"cannot make TUN device '{UPLINK}': there is a device of that name"),
    ],
)
def test_up_bad_option_is_refused_and_nothing_changed(
    lab: HostLab, options: tuple[str, ...], complaint: str
) -> None:
    before = lab.configuration()
    assert refused(lab, *options).startswith(complaint)
    assert lab.configuration() == before


def test_up_no_tun_driver_is_refused(lab: HostLab) -> None:
    done = lab.run(*TUNPROXY, "up", machine={"tun": "missing"})
    assert done.returncode == 2
    assert done.stderr.startswith("tunproxy: cannot open /dev/net/tun: the kernel has no TUN driver here")
