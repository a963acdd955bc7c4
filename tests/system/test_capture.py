"""``tunproxy up`` on a desktop: what is captured, and what is left alone and works as before.

The picture of the namespaces is in ``capturelab``.
"""

import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.capturelab import (
    CONTAINER_IPV4,
    CONTAINER_IPV6,
    NEIGHBOUR_IPV4,
    NEIGHBOUR_IPV6,
    VPN_HOST,
    VPN_MARK,
    VPN_PEER,
    CaptureLab,
    resolver,
)
from tests.system.hostlab import (
    HOST_IPV4,
    HOST_IPV6,
    ORDINARY_UID,
    ROUTER_IPV4,
    ROUTER_IPV6,
    UPLINK,
    WORLD_IPV4,
    WORLD_IPV6,
    eventually,
)
from tests.system.namespace import Namespace, family_of
from tests.system.nursery import Nursery, Run
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6
from tunproxy.host.cgroups import hierarchy

pytestmark = [pytest.mark.timeout(100), pytest.mark.needs("nft")]

TUN = f"cap{os.getpid()}"
OTHER_IPV4, OTHER_IPV6 = "203.0.113.1", "2001:db8:200::1"  # further addresses of the world
WORKER_UID = "60777"
IPV6_RECVERR = 25  # linux/in6.h
GROUPS = hierarchy()
Start = Callable[..., contextlib.AbstractContextManager[Run]]


@pytest.fixture(scope="module")
def lab() -> Iterator[CaptureLab]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a host for the tests")
    with CaptureLab() as made:
        for address in (OTHER_IPV4, OTHER_IPV6):
            made.world.ip("address", "add", address, "dev", "lo")
        yield made


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def start(lab: CaptureLab, nursery: Nursery) -> Start:
    """Return what runs ``tunproxy up`` on the host, within a context; nothing may stay behind."""

    @contextlib.contextmanager
    def up(*options: str) -> Iterator[Run]:
        before = lab.configuration()
        run = nursery.start(lab.host, "up", "--tun", TUN, "--workers", "1", *options)
        try:
            run.expect("worker uid")
            yield run
            run.kill(signal.SIGTERM)
            assert run.wait() == 0, run.said()
            assert "Traceback" not in run.said()
            assert lab.configuration() == before
        finally:
            run.close()

    return up


def ask(nursery: Nursery, lab: CaptureLab, *command: str) -> str:
    """Return what a command of tunproxy says."""
    run = nursery.start(lab.host, *command)
    try:
        assert run.wait() == 0, run.said()
        return run.said()
    finally:
        run.close()


def visit(lab: CaptureLab, client: Namespace, server: Namespace, address: str) -> str:
    """Connect, be greeted, and return which address the server saw."""
    with server.listen(address) as listener, client.connect_to(listener) as made:
        accepted, peer = listener.accept()
        with accepted:
            accepted.sendall(b"hello\n")
        assert made.recv(100) == b"hello\n"
        return str(peer[0])


def assert_surroundings_work(lab: CaptureLab) -> None:
    """LAN, container and VPN have what they have without us."""
    assert visit(lab, lab.host, lab.neighbour, NEIGHBOUR_IPV4) == "10.20.0.1"
    assert visit(lab, lab.host, lab.neighbour, NEIGHBOUR_IPV6) == "fd20::1"
    assert visit(lab, lab.neighbour, lab.host, "10.20.0.1") == NEIGHBOUR_IPV4
    assert visit(lab, lab.host, lab.container, CONTAINER_IPV4) == "172.18.0.1"
    assert visit(lab, lab.container, lab.host, "fd18::1") == CONTAINER_IPV6
    assert visit(lab, lab.container, lab.world, WORLD_IPV4) == HOST_IPV4
    assert visit(lab, lab.container, lab.world, WORLD_IPV6) == HOST_IPV6
    assert visit(lab, lab.host, lab.world, VPN_PEER) == VPN_HOST
    assert visit(lab, lab.world, lab.host, VPN_HOST) == VPN_PEER


def test_capture_lan_container_and_vpn_work_before_during_and_after(lab: CaptureLab, start: Start) -> None:
    for filtering in ("0", "1"):  # strict reverse path filtering, which some distributions have
        for link in ("all", "default"):
            lab.host.sysctl(f"net/ipv4/conf/{link}/rp_filter", filtering)
        assert_surroundings_work(lab)
        with start():
            flushed = lab.host.run("ip", "-6", "neigh", "flush", "all")  # neighbours are found anew
            assert flushed.returncode == 0
            seen = lab.carried(TUN)
            assert_surroundings_work(lab)
            assert lab.carried(TUN) == seen, "what is not ours went through the TUN"
            assert visit(lab, lab.host, lab.world, WORLD_IPV4) == HOST_IPV4
            assert lab.carried(TUN) > seen
            assert lab.route_to("fe80::53", "oif", "lan0") == "lan0"
            assert lab.route_to("169.254.1.1") == UPLINK
        assert_surroundings_work(lab)
    for link in ("all", "default"):
        lab.host.sysctl(f"net/ipv4/conf/{link}/rp_filter", "0")


def test_capture_leaves_other_vpns_alone(lab: CaptureLab, start: Start) -> None:
    """Those that begin while we run, too; what we carry goes through them."""
    with start():
        with lab.vpn_of_everything():
            assert lab.route_to(WORLD_IPV4, "mark", str(VPN_MARK)) == UPLINK
            assert lab.route_to(WORLD_IPV4, "uid", WORKER_UID) == "wg0"
            seen = lab.carried(TUN)
            assert visit(lab, lab.host, lab.world, WORLD_IPV4) == VPN_HOST
            assert lab.carried(TUN) > seen
        assert visit(lab, lab.host, lab.world, WORLD_IPV4) == HOST_IPV4
        # as tailscale does it
        lab.host.ip("route", "add", "100.64.0.0/10", "dev", "wg0", "table", "52")
        lab.host.ip("rule", "add", "pref", "5270", "lookup", "52")
        lab.host.ip("rule", "add", "pref", "30000", "fwmark", "0x80000/0xff0000", "lookup", "main")
        try:
            assert lab.route_to("100.64.0.9") == "wg0"
            assert eventually(lambda: lab.route_to(WORLD_IPV4, "mark", "0x80001") == UPLINK)
            assert lab.route_to(WORLD_IPV4, "mark", "0x10000") == TUN
        finally:
            for rule in (("pref", "5270"), ("pref", "30000")):
                lab.host.ip("rule", "del", *rule)
            lab.host.ip("route", "flush", "table", "52")
        assert eventually(lambda: lab.route_to(WORLD_IPV4, "mark", "0x80001") == TUN)


@pytest.mark.parametrize("kill_switch", [False, True], ids=["", "kill-switch"])
def test_capture_takes_what_a_vpn_wants_by_halves_and_goes_through_it(
    lab: CaptureLab, start: Start, *, kill_switch: bool
) -> None:
    with lab.vpn_of_both_halves(), start(*(["--kill-switch"] if kill_switch else [])):
        for target in (OTHER_IPV4, OTHER_IPV6):
            assert lab.route_to(target) == TUN
            assert lab.route_to(target, "uid", WORKER_UID) == "wg0"
        assert (lab.route_to(VPN_PEER), lab.route_to(WORLD_IPV4)) == ("wg0", UPLINK)
        seen = lab.carried(TUN)
        assert visit(lab, lab.host, lab.world, OTHER_IPV4) == VPN_HOST
        assert lab.carried(TUN) > seen
        if kill_switch:
            with lab.host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as past:
                past.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wg0")
                with pytest.raises(PermissionError):
                    past.sendto(b"x", (OTHER_IPV4, 9))


def test_capture_of_what_is_forwarded_by_interface(lab: CaptureLab, start: Start) -> None:
    def way(address: str, source: str, interface: str) -> str:
        return lab.route_to(address, "from", source, "iif", interface)

    for link in ("all", "default"):
        lab.host.sysctl(f"net/ipv4/conf/{link}/rp_filter", "1")
    with start("--forwarded", "--exclude-interface", "lan0"):
        seen = lab.carried(TUN)
        assert visit(lab, lab.container, lab.world, WORLD_IPV4) == HOST_IPV4
        assert visit(lab, lab.container, lab.world, WORLD_IPV6) == HOST_IPV6
        assert lab.carried(TUN) > seen
        assert visit(lab, lab.container, lab.neighbour, NEIGHBOUR_IPV4) in ("10.20.0.1", CONTAINER_IPV4)
        assert way(WORLD_IPV4, NEIGHBOUR_IPV4, "lan0") == way(WORLD_IPV6, NEIGHBOUR_IPV6, "lan0") == UPLINK
    for link in ("all", "default"):
        lab.host.sysctl(f"net/ipv4/conf/{link}/rp_filter", "0")
    with start("--forwarded", "--include-interface", "lan0"):
        assert way(WORLD_IPV4, NEIGHBOUR_IPV4, "lan0") == way(WORLD_IPV6, NEIGHBOUR_IPV6, "lan0") == TUN
        assert way(WORLD_IPV4, CONTAINER_IPV4, "ctr0") == way(WORLD_IPV6, CONTAINER_IPV6, "ctr0") == UPLINK
        assert lab.route_to(WORLD_IPV4) == lab.route_to(WORLD_IPV6) == TUN


@pytest.fixture
def published(lab: CaptureLab) -> Iterator[int]:
    """Have a port of the host lead to the container's of the same number, and the world know its networks."""
    port = 8053
    lab.host.nft(
        "table inet published { chain pre { type nat hook prerouting priority dstnat\n"
        f'iifname "{UPLINK}" meta l4proto {{ tcp, udp }} th dport {port} dnat ip to {CONTAINER_IPV4}\n'
        "}\n}\n"
    )
    routes = (("172.18.0.0/24", HOST_IPV4), ("fd18::/64", HOST_IPV6))
    for network, router in routes:
        lab.world.ip("route", "add", network, "via", router)
    yield port
    for network, _ in routes:
        lab.world.ip("route", "del", network)
    lab.host.nft("delete table inet published")


@pytest.mark.parametrize("options", [(), ("--include-interface", "ctr0")], ids=str)
def test_capture_of_what_is_forwarded_leaves_answers_alone(
    lab: CaptureLab, start: Start, published: int, options: tuple[str, ...]
) -> None:
    """Of servers in containers: at published ports, and where the world knows a way to them."""

    def assert_they_answer() -> None:
        with (
            lab.greeter(lab.container, CONTAINER_IPV4, published),
            lab.world.connect(HOST_IPV4, published, timeout=5) as client,
        ):
            assert client.recv(100) == b"hello\n"
        for address in (CONTAINER_IPV4, CONTAINER_IPV6):
            visit(lab, lab.world, lab.container, address)
        with (
            lab.container.datagram(CONTAINER_IPV4, published) as server,
            lab.world.datagram("0.0.0.0") as client,
        ):
            client.sendto(b"anybody?", (HOST_IPV4, published))
            _, asker = server.recvfrom(100)
            server.sendto(b"here", asker)
            assert client.recvfrom(100) == (b"here", (HOST_IPV4, published))

    assert_they_answer()
    with start("--forwarded", *options):
        seen = lab.carried(TUN)
        assert_they_answer()
        assert lab.carried(TUN) == seen
        assert visit(lab, lab.container, lab.world, WORLD_IPV4) == HOST_IPV4
        assert visit(lab, lab.container, lab.world, WORLD_IPV6) == HOST_IPV6
        assert lab.carried(TUN) > seen, "what begins there is captured"
    assert_they_answer()


@pytest.mark.needs("microsocks")
def test_capture_of_what_is_forwarded_cuts_the_loop_through_a_proxy_in_a_container(
    lab: CaptureLab, start: Start, tmp_path: Path
) -> None:
    options = ("--forwarded", "--upstream", f"socks5://{CONTAINER_IPV4}:1080")
    proxy = lab.container.spawn("microsocks", "-i", CONTAINER_IPV4, "-p", "1080", log=tmp_path / "microsocks")
    try:
        assert eventually(lambda: can_connect(lab.host, CONTAINER_IPV4, 1080)), proxy.log.read_text()
        with lab.greeter(lab.world, WORLD_IPV4) as (port, visitors):
            with start(*options) as run:
                with pytest.raises(OSError, match=r"refused|reset"):
                    lab.host.connect(WORLD_IPV4, port, timeout=30).recv(100)
                run.expect(f"loop: flows to {WORLD_IPV4}:{port} come from what this host forwards")
                assert visitors == []
            with start(*options, "--exclude-interface", "ctr0"):
                with lab.host.connect(WORLD_IPV4, port) as client:
                    assert client.recv(100) == b"hello\n"
                assert visitors == [HOST_IPV4]
    finally:
        proxy.stop()


def can_connect(namespace: Namespace, address: str, port: int) -> bool:
    try:
        namespace.connect(address, port, timeout=1).close()
    except OSError:
        return False
    return True


def sender(lab: CaptureLab, address: str, uid: int = 0, group: str = "") -> str:
    """Return the address that a process of a user, in a control group, is given to send from."""
    with lab.greeter(lab.world, address) as (port, _):
        reading, writing = os.pipe()
        with lab.host.entered():
            pid = os.fork()
            if pid == 0:
                try:
                    if group and GROUPS is not None:
                        (GROUPS / group / "cgroup.procs").write_text(str(os.getpid()))
                    os.setresuid(uid, uid, uid)
                    with socket.socket(family_of(address)) as client:
                        client.settimeout(10)
                        client.connect((address, port))
                        assert client.recv(100) == b"hello\n"
                        os.write(writing, client.getsockname()[0].encode())
                finally:
                    os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        os.waitpid(pid, 0)
        return told


OURS = {4: str(TUN_IPV4.ip), 6: str(TUN_IPV6.ip)}


def test_capture_by_user_and_network(lab: CaptureLab, start: Start, tmp_path: Path, nursery: Nursery) -> None:
    config = tmp_path / "tunproxy.toml"
    config.write_text(
        "[capture]\n"
        f'include-users = ["root", "{ORDINARY_UID}-{ORDINARY_UID + 5}"]\n'
        f"exclude-users = [{ORDINARY_UID + 1}]\n"
        f'exclude-networks = ["203.0.113.0/24", "{OTHER_IPV6}"]\nexclude-marks = ["0x10/0xf0"]\n'
    )
    with start("--config", str(config)):
        for user, is_captured in ((0, True), (ORDINARY_UID, True), (ORDINARY_UID + 1, False), (9, False)):
            assert sender(lab, WORLD_IPV4, user) == (OURS[4] if is_captured else HOST_IPV4), user
            assert sender(lab, WORLD_IPV6, user) == (OURS[6] if is_captured else HOST_IPV6), user
            explained = ask(nursery, lab, "explain", "--tun", TUN, "--uid", str(user), WORLD_IPV4)
            assert ("past us" in explained) == (not is_captured), explained
        assert (sender(lab, OTHER_IPV4), sender(lab, OTHER_IPV6)) == (HOST_IPV4, HOST_IPV6)
        assert lab.route_to(WORLD_IPV4, "mark", "0x11") == UPLINK
        assert lab.route_to(WORLD_IPV4, "mark", "0x20") == TUN
        assert visit(lab, lab.container, lab.world, WORLD_IPV4) == HOST_IPV4


@pytest.mark.skipif(
    GROUPS is None or not os.access(GROUPS, os.W_OK), reason="needs control groups of the second version"
)
def test_capture_by_control_group(lab: CaptureLab, start: Start, tmp_path: Path, nursery: Nursery) -> None:
    assert GROUPS is not None
    inside, spared = (f"{TUN}-{name}" for name in ("inside", "spared"))
    config = tmp_path / "tunproxy.toml"
    config.write_text(f'[capture]\ninclude-cgroups = ["{inside}"]\nexclude-cgroups = ["{inside}/{spared}"]\n')
    (GROUPS / inside / spared).mkdir(parents=True)
    try:
        with start("--config", str(config)):
            for address, version in ((WORLD_IPV4, 4), (WORLD_IPV6, 6)):
                assert sender(lab, address, group=inside) == OURS[version]
                assert sender(lab, address, group=f"{inside}/{spared}") != OURS[version]
                assert sender(lab, address) != OURS[version]
            told = json.loads(ask(nursery, lab, "status", "--tun", TUN, "--json"))
            assert told["capture"]["include-cgroups"] == [inside]
        assert sender(lab, WORLD_IPV4, group=inside) == HOST_IPV4
    finally:
        for path in (f"{inside}/{spared}", inside):
            (GROUPS / path).rmdir()
    with start("--config", str(config)) as run:  # nobody has made them
        assert "control groups make no difference to what is captured" in run.said()
        assert sender(lab, WORLD_IPV4) == OURS[4]


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def resolve(lab: CaptureLab, server: str, name: str) -> bytes:
    """Return what is answered to a question for an IPv4 address."""
    with lab.host.make_socket(family_of(server), socket.SOCK_DGRAM) as sock:
        sock.sendto(question(name), (server, 53))
        return sock.recv(2000)


def test_capture_port_53_before_local_networks(lab: CaptureLab, start: Start, tmp_path: Path) -> None:
    config = tmp_path / "tunproxy.toml"
    config.write_text(
        f'[dns]\nservers = ["{NEIGHBOUR_IPV4}"]\nhijack-except = ["{ROUTER_IPV4}"]\nresolved = false\n'
        'hosts = { "nas.lan" = "192.0.2.99" }\n'
    )

    def way(address: str, protocol: str, port: int = 53) -> str:
        return lab.route_to(address, "ipproto", protocol, "dport", str(port))

    with (
        resolver(lab.neighbour, NEIGHBOUR_IPV4) as asked,
        resolver(lab.neighbour, NEIGHBOUR_IPV6),
        resolver(lab.world, ROUTER_IPV4),
    ):
        with start("--config", str(config)):
            for protocol in ("udp", "tcp"):
                assert way(NEIGHBOUR_IPV4, protocol) == way(NEIGHBOUR_IPV6, protocol) == TUN
                assert way(ROUTER_IPV6, protocol) == TUN
                assert way(ROUTER_IPV4, protocol) == UPLINK
                assert way(NEIGHBOUR_IPV4, protocol, 54) == way(NEIGHBOUR_IPV6, protocol, 853) == "lan0"
            assert way("127.0.0.53", "udp") == "lo"
            for server in (NEIGHBOUR_IPV4, NEIGHBOUR_IPV6):
                assert resolve(lab, server, "nas.lan").endswith(socket.inet_aton("192.0.2.99"))
            assert asked == [], "a question was seen by whom we have not asked"
            assert resolve(lab, NEIGHBOUR_IPV4, "nowhere.example")[3] & 0xF == 3
            assert len(asked) == 1  # by us
            assert resolve(lab, ROUTER_IPV4, "nas.lan")[3] & 0xF == 3
        config.write_text('[dns]\nmode = "off"\n')
        with start("--config", str(config)):
            assert way(NEIGHBOUR_IPV4, "udp") == way(NEIGHBOUR_IPV6, "tcp") == "lan0"


def ask_whether_anybody_is_there(lab: CaptureLab, kind: int) -> None:
    """Raise OSError with what the network says."""
    with lab.host.make_socket(socket.AF_INET6, kind, timeout=15) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)  # else UDP keeps such errors to itself
        sock.connect((WORLD_IPV6, 7))
        sock.send(b"is anybody there?")
        sock.recv(100)


def test_capture_of_ipv6_without_a_way_out_is_refused_at_once(lab: CaptureLab, start: Start) -> None:
    lab.host.ip("-6", "route", "del", "default")
    try:
        with start():
            assert lab.route_to(WORLD_IPV6) == TUN
            seen = lab.carried(TUN)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with pytest.raises(OSError, match=r"unreachable|No route"):
                    ask_whether_anybody_is_there(lab, kind)
            assert lab.carried(TUN) > seen, "the kernel itself refused"
            assert visit(lab, lab.host, lab.neighbour, NEIGHBOUR_IPV6) == "fd20::1"
    finally:
        lab.host.ip("-6", "route", "add", "default", "via", ROUTER_IPV6)


LANE_RULES = (
    'rules = ["IP-CIDR,203.0.113.9/32,REJECT", {} "IP-CIDR,198.18.0.0/15,DIRECT",\n'
    '"DOMAIN,x.example,REJECT"]\n'
)
LANE = '"IP-CIDR,203.0.113.0/24,DIRECT", "IP-CIDR6,2001:db8:200::/48,DIRECT",'


def test_capture_kernel_direct_lane_follows_the_rules(
    lab: CaptureLab, start: Start, nursery: Nursery, tmp_path: Path
) -> None:
    config = tmp_path / "tunproxy.toml"
    more = "[capture]\ndirect-lane = true\nforwarded = true\n[dns]\nresolved = false\n"
    config.write_text(LANE_RULES.format("") + more)

    def lane() -> list[str]:
        found: list[str] = json.loads(ask(nursery, lab, "status", "--tun", TUN, "--json"))["kernel_direct"]
        return found

    def explained(target: str) -> bool:
        return "kernel-direct" in ask(nursery, lab, "explain", "--tun", TUN, target)

    with start("--config", str(config)), lab.greeter(lab.world, OTHER_IPV4) as (port, visitors):
        assert lab.route_to(OTHER_IPV4) == lab.route_to(OTHER_IPV6) == TUN
        assert eventually(lambda: lane() == ["198.18.0.0/15"])
        with lab.world.listen(OTHER_IPV4) as listener, lab.host.connect_to(listener) as early:
            server, _ = listener.accept()
            config.write_text(LANE_RULES.format(LANE) + more)
            assert eventually(lambda: lab.route_to(OTHER_IPV4) == UPLINK)
            assert eventually(lambda: lab.route_to(OTHER_IPV6) == UPLINK)
            assert lab.route_to("203.0.113.9") == lab.route_to(WORLD_IPV4) == TUN
            assert lab.route_to(OTHER_IPV4, "ipproto", "udp", "dport", "53") == TUN
            guest = ("from", CONTAINER_IPV4, "iif", "ctr0")
            assert (lab.route_to(OTHER_IPV4, *guest), lab.route_to(WORLD_IPV4, *guest)) == (UPLINK, TUN)
            assert lab.route_to(OTHER_IPV4, *guest, "ipproto", "udp", "dport", "53") == TUN
            assert eventually(lambda: "2001:db8:200::/48" in lane())
            assert (explained(f"{OTHER_IPV4}:80"), explained(f"{OTHER_IPV4}:53")) == (True, False)
            seen = lab.carried(TUN)
            with lab.host.connect(OTHER_IPV4, port) as late:
                assert late.getsockname()[0] == HOST_IPV4
                assert late.recv(100) == b"hello\n"
            assert (visitors, lab.carried(TUN)) == ([HOST_IPV4], seen)
            early.sendall(b"still there?")  # what was begun through us stays with us
            assert server.recv(100) == b"still there?"
            assert eventually(lambda: lab.carried(TUN) > seen)
            with lab.world.listen(OTHER_IPV4) as other, lab.host.connect_to(other) as direct:
                peer, _ = other.accept()
                config.write_text(LANE_RULES.format("") + more)
                assert eventually(lambda: lab.route_to(OTHER_IPV4) == TUN)
                direct.sendall(b"and this one?")  # and what was not, does not come
                assert peer.recv(100) == b"and this one?"
                peer.close()
            server.close()


@pytest.mark.needs("curl")
def test_capture_lane_is_none_while_a_dashboard_sends_all_elsewhere(
    lab: CaptureLab, start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "tunproxy.toml"
    config.write_text(LANE_RULES.format(LANE) + "[capture]\ndirect-lane = true\n[dns]\nresolved = false\n")

    def choose(method: str, path: str, body: dict[str, object]) -> None:
        asked = ("--unix-socket", f"/run/tunproxy/{TUN}.sock", "-X", method, "-d", json.dumps(body))
        done = lab.host.run("curl", "-sS", "--fail", *asked, f"http://localhost{path}")
        assert done.returncode == 0, done.stderr

    with start("--config", str(config)):
        assert lab.route_to(OTHER_IPV4) == lab.route_to(OTHER_IPV6) == UPLINK
        choose("PUT", "/proxies/GLOBAL", {"name": "REJECT"})
        choose("PATCH", "/configs", {"mode": "global"})
        assert eventually(lambda: lab.route_to(OTHER_IPV4) == lab.route_to(OTHER_IPV6) == TUN)
        choose("PATCH", "/configs", {"mode": "rule"})
        assert eventually(lambda: lab.route_to(OTHER_IPV4) == lab.route_to(OTHER_IPV6) == UPLINK)
        choose("PATCH", "/rules/disable", {"1": True})  # that about OTHER_IPV4
        assert eventually(lambda: lab.route_to(OTHER_IPV4) == TUN)
        assert lab.route_to(OTHER_IPV6) == UPLINK


def test_capture_lane_of_one_that_was_killed_is_harmless_and_cleared(
    lab: CaptureLab, nursery: Nursery, tmp_path: Path
) -> None:
    config = tmp_path / "tunproxy.toml"
    config.write_text(LANE_RULES.format(LANE) + "[capture]\ndirect-lane = true\n[dns]\nresolved = false\n")
    before = lab.configuration()
    for is_rescued in (True, False):
        run = nursery.start(lab.host, "up", "--tun", TUN, "--config", str(config))
        try:
            run.expect("worker uid")
            run.kill(signal.SIGKILL)
            run.wait()
        finally:
            run.close()
        assert eventually(lambda: not lab.has_link(TUN))
        assert "throw" in lab.host.ip("route", "show", "table", "7778")
        assert visit(lab, lab.host, lab.world, OTHER_IPV4) == HOST_IPV4
        assert visit(lab, lab.host, lab.world, WORLD_IPV4) == HOST_IPV4
        if is_rescued:
            assert "prefixes of the lane" in ask(nursery, lab, "rescue")
        else:
            again = nursery.start(lab.host, "up", "--tun", TUN)
            try:
                again.expect("worker uid")
                assert lab.route_to(OTHER_IPV4) == TUN
                again.kill(signal.SIGTERM)
                assert again.wait() == 0
            finally:
                again.close()
        assert lab.configuration() == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--exclude-user", "nobody-of-this-name"), "[capture] exclude-users: there is no user"),
        (("--include-user", "9-3"), "[capture] include-users: '9-3' is an empty range"),
        (
            ("--exclude-network", "10.0.0.1/8"),
            "[capture] exclude-networks: cannot use '10.0.0.1/8': the address",
        ),
        (("--include-interface", "lan0"), "[capture] include-interfaces: is about what this host forwards"),
    ],
)
def test_capture_bad_option_is_one_line_and_nothing_changes(
    lab: CaptureLab, nursery: Nursery, options: tuple[str, ...], complaint: str
) -> None:
    before = lab.configuration()
    run = nursery.start(lab.host, "up", "--tun", TUN, *options)
    try:
        assert run.wait() == 2
        assert run.said().startswith(f"tunproxy: {complaint}")
        assert run.said().count("\n") == 1
    finally:
        run.close()
    assert lab.configuration() == before


def test_capture_lane_table_of_somebody_else_is_left_alone(lab: CaptureLab, nursery: Nursery) -> None:
    lab.host.ip("route", "add", "throw", "203.0.113.0/24", "table", "7778")
    before = lab.configuration()
    run = nursery.start(lab.host, "up", "--tun", TUN)
    try:
        assert run.wait() == 2
        assert run.said().startswith(
            "tunproxy: cannot use routing table 7778: somebody else's routes are in it"
        )
    finally:
        run.close()
    assert lab.configuration() == before
    lab.host.ip("route", "flush", "table", "7778")
