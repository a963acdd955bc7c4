"""Names on a desktop: systemd-resolved asks us, and nobody asks past us; what is left when we end.

    programs ─▶ 127.0.0.53, systemd-resolved ─┬─▶ TUN ─▶ tunproxy ─▶ FAR: what [dns] names
                                              └─▶ NEAR, on the uplink: what the network has given it

Both resolvers say who they are: their answers differ. The picture of the namespaces is in ``hostlab``.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.system.hostlab import (
    HOST_IPV4,
    ROUTER_IPV4,
    ROUTER_IPV6,
    UPLINK,
    WORLD_IPV4,
    HostLab,
    eventually,
    read_line,
)
from tests.system.namespace import Program
from tests.system.resolved import REFUSING, STUB, Resolved, find

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.needs("dbus-daemon", "dig", "dnsmasq", "nft", "unshare"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a host for the tests"),
    pytest.mark.skipif(
        find("systemd-resolved") is None or find("resolvectl") is None,
        reason="systemd-resolved is neither installed nor unpacked (packaging/test-programs does it)",
    ),
]

TUN = "names1"
SOCKET = Path(f"/run/tunproxy/{TUN}.sock")
MACHINE: dict[str, object] = {"resolver": "file", "settings": f"nameserver {STUB}\n"}
NEAR, FAR = ROUTER_IPV4, WORLD_IPV4  # the uplink's resolver, and the one that we are told to ask
NEAR_SAYS, FAR_SAYS = "203.0.113.10", "203.0.113.20"
USER = 47_115
NOTICED = 50.0  # seconds: it looks every twenty, where a worker, say, was too slow when something happened
DIG = ("dig", "+tries=1", "+time=20", "+short")

Process = subprocess.Popen[str]


@dataclass
class Desk:
    """The host with resolved on it, and the two resolvers outside."""

    lab: HostLab
    resolved: Resolved
    near: Program
    far: Program
    scratch: Path
    _marks: "count[int]" = field(default_factory=count)

    def fresh(self) -> str:
        """Return a name that nobody has asked about."""
        return f"n{next(self._marks)}.any.test"

    def up(self, dns: str = f'servers = ["{FAR}"]') -> Process:
        """Start ``tunproxy up``."""
        config = self.scratch / "tunproxy.toml"
        config.write_text(f'[dns]\nhosts-file = false\nfake-ip-file = ""\n{dns}\n')
        return self.lab.start_up("--tun", TUN, "--config", str(config), machine=MACHINE)

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` would; without the half second that a program takes to start."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(SOCKET))
            sock.sendall(b"GET /status HTTP/1.0\r\nHost: localhost\r\n\r\n")
            said = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        found: dict[str, Any] = json.loads(said.partition(b"\r\n\r\n")[2])
        return found

    def awaited(self, state: str) -> dict[str, Any]:
        """Return the document once it has a state of resolved's."""
        found: list[dict[str, Any]] = []

        def is_so() -> bool:
            try:
                found.append(self.status())
            except OSError:  # it listens a moment after its first line
                return False
            return bool(found[-1]["resolved"]["state"] == state)

        assert eventually(is_so, NOTICED), found[-1:]
        return found[-1]

    def ask(self, name: str, *how: str, server: str = STUB) -> str:
        """Return the address that dig is told."""
        return self.lab.host.run(*DIG, *how, f"@{server}", name).stdout.strip()

    def was_asked(self, program: Program, name: str) -> bool:
        return name in program.log.read_text().lower()

    def knows(self, link: str) -> str:
        """Return what resolved has about a link."""
        return self.resolved.control("dns", link) + self.resolved.control("domain", link)

    def tables(self) -> str:
        return self.lab.host.run("nft", "list", "ruleset").stdout


def resolver(lab: HostLab, folder: Path, name: str, address: str, says: str) -> Program:
    settings = folder / f"{name}.conf"
    lines = [
        "keep-in-foreground", "user=root", "pid-file=", "bind-interfaces", "no-resolv", "no-hosts",
        "log-queries", "log-facility=-", "local-ttl=300", f"listen-address={address}", "local=/test/",
        f"address=/any.test/{says}",
    ]  # fmt: skip
    settings.write_text("\n".join(lines) + "\n")
    return lab.world.spawn("dnsmasq", f"--conf-file={settings}", log=folder / f"{name}.log")


@pytest.fixture(scope="module")
def module_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("resolved")
    with HostLab() as lab, Resolved(lab) as resolved:
        near = resolver(lab, folder, "near", NEAR, NEAR_SAYS)
        far = resolver(lab, folder, "far", FAR, FAR_SAYS)
        for address in (NEAR_SAYS, FAR_SAYS):
            lab.world.ip("address", "add", f"{address}/32", "dev", "lo")
        for address in (NEAR, FAR):
            assert eventually(lambda address=address: lab.world.listens(address, 53), 20)
        resolved.start()
        try:
            yield Desk(lab, resolved, near, far, folder)
        finally:
            near.stop()
            far.stop()


@pytest.fixture
def desk(module_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The host as the network has set it up: resolved asks NEAR on the uplink."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", module_desk.resolved.address)
    module_desk.resolved.control("dns", UPLINK, NEAR)
    module_desk.resolved.control("domain", UPLINK, "")
    module_desk.resolved.control("flush-caches")
    assert eventually(lambda: module_desk.ask(module_desk.fresh()) == NEAR_SAYS)
    yield module_desk
    module_desk.lab.stop_all()


def assert_as_before(desk: Desk) -> None:
    """resolved asks the uplink's resolver, as if we had never been there; nothing of ours is left."""
    assert desk.ask(desk.fresh()) == NEAR_SAYS
    assert TUN not in desk.resolved.control("status")
    assert "tunproxy" not in desk.tables()


def test_everybody_asks_us_and_nothing_leaks(desk: Desk) -> None:
    """By way of resolved, and past it: of the resolver on the uplink, of one that is not there, over TCP."""
    process = desk.up(f'servers = ["{FAR}"]\ndrain = 200')
    found = desk.awaited("taken")
    assert found["resolved"]["rivals"] == []
    assert found["resolved"]["claimed"] == {}
    names = []
    for server in (STUB, NEAR, ROUTER_IPV6, "203.0.113.53"):
        for how in ("+notcp", "+tcp"):
            names.append(desk.fresh())
            assert desk.ask(names[-1], how, server=server) == FAR_SAYS
    assert not any(desk.was_asked(desk.near, name) for name in names)
    assert all(desk.was_asked(desk.far, name) for name in names)
    found = desk.status()
    assert (found["dns_leaks"]["is_counted"], found["dns_leaks"]["packets"]) == (True, 0), found["dns_leaks"]
    assert found["problems"] == []
    with listening(desk) as listener, desk.lab.host.connect(FAR_SAYS, 8080), listener.accept()[0]:
        process.terminate()
        assert process.wait(20) == 0, "nothing is drained where addresses are real"
    assert_as_before(desk)


def test_resolvers_are_those_that_resolved_knows_and_it_knows_them_after_a_kill(desk: Desk) -> None:
    """resolv.conf names the stub, which would ask us; so the uplink's own are asked, by us alone."""
    process = desk.up("")
    found = desk.awaited("taken")
    assert found["resolved"]["resolvers"] == [NEAR]
    first, second = desk.fresh(), desk.fresh()
    assert desk.ask(first) == NEAR_SAYS
    assert desk.status()["dns_leaks"]["packets"] == 0, "who asked was the worker"
    desk.resolved.control("dns", UPLINK, FAR)
    assert eventually(lambda: desk.status()["resolved"]["resolvers"] == [FAR], NOTICED)
    assert desk.ask(second) == FAR_SAYS
    assert not desk.was_asked(desk.near, second)
    found = desk.status()
    assert (found["dns_leaks"]["packets"], found["problems"]) == (0, [])
    desk.resolved.control("dns", UPLINK, NEAR)
    assert "tunproxy_leaks" in desk.tables()
    process.kill()
    process.wait(20)
    assert eventually(lambda: not desk.lab.has_link(TUN), 20)
    assert_as_before(desk)


def test_resolved_asks_us_when_we_answer_and_when_it_starts_anew_or_was_reset(desk: Desk) -> None:
    desk.up('mode = "off"')
    assert desk.awaited("not-wanted")["problems"] == []
    assert desk.ask(desk.fresh()) == NEAR_SAYS
    config = desk.scratch / "tunproxy.toml"
    new = config.with_suffix(".new")
    new.write_text(config.read_text().replace('mode = "off"', f'servers = ["{FAR}"]'))
    new.replace(config)
    desk.awaited("taken")
    assert desk.ask(desk.fresh()) == FAR_SAYS
    desk.resolved.control("revert", TUN)
    assert eventually(lambda: desk.status()["resolved"]["set_again"] == 1, NOTICED)
    assert desk.ask(desk.fresh()) == FAR_SAYS
    desk.resolved.stop()
    desk.awaited("absent")
    desk.resolved.start()
    desk.resolved.control("dns", UPLINK, NEAR)
    desk.awaited("taken")
    assert desk.ask(desk.fresh()) == FAR_SAYS
    assert desk.status()["problems"] == []


PAST_US = f"""
import os, socket
os.setresuid({USER}, {USER}, {USER})
for kind, port in ((socket.SOCK_DGRAM, 53), (socket.SOCK_DGRAM, 53), (socket.SOCK_STREAM, 853)):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, {UPLINK.encode()!r})
        if sock.connect_ex(({NEAR!r}, port)) == 0:
            sock.send(b"?" * 20)
"""


def test_leaks_are_counted_and_whose_they_are(desk: Desk) -> None:
    """Those of a program that sees to it, and of resolved, where another VPN has all names as well."""
    process = desk.up()
    desk.awaited("taken")
    done = desk.lab.host.run(sys.executable, "-c", PAST_US)
    assert done.returncode == 0, done.stderr
    found = desk.status()
    leaks = found["dns_leaks"]
    assert leaks["packets"] == 3
    assert leaks["interfaces"] == {UPLINK: {"udp/53": 2, "tcp/853": 1}}
    assert {each["uid"] for each in leaks["users"]} == {USER}
    [problem] = found["problems"]
    assert problem.startswith(
        f"3 packets that asked for names left past us: 2 by uid {USER} over {UPLINK} (DNS"
    )
    desk.lab.host.ip("link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    desk.lab.host.ip("address", "add", "10.66.0.2/24", "dev", "vpn0")
    for link in ("vpn0", "vpn1"):
        desk.lab.host.ip("link", "set", link, "up")
    desk.resolved.control("domain", "vpn0", "~.", "corp.test")
    desk.resolved.control("dns", "vpn0", "10.66.0.1")
    assert eventually(lambda: desk.status()["resolved"]["rivals"] == ["vpn0"], NOTICED)
    assert process.stderr is not None
    assert "asks vpn0 for every name as well as us" in read_line(process.stderr)
    desk.ask(desk.fresh())
    found = desk.status()
    assert found["dns_leaks"]["interfaces"]["vpn0"]["udp/53"] >= 1
    assert any("asks vpn0 for every name as well as us" in each for each in found["problems"])
    assert any("over vpn0" in each for each in found["problems"])
    desk.lab.host.ip("link", "delete", "vpn0")


def test_without_a_bus_port_53_is_caught_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    desk.up()
    found = desk.awaited("no-bus")
    assert "cannot use the system bus: no such file" in found["resolved"]["why"]
    for server in (NEAR, ROUTER_IPV6, "203.0.113.53"):
        assert [desk.ask(desk.fresh(), how, server=server) for how in ("+notcp", "+tcp")] == [FAR_SAYS] * 2
    assert desk.status()["dns_leaks"]["packets"] == 0


@pytest.mark.needs("socat")
def test_query_of_ours_that_a_program_on_this_host_sends_back_to_us_is_refused(desk: Desk) -> None:
    process = desk.up(f'servers = ["{HOST_IPV4}"]\nrandom-capitals = false')
    desk.awaited("taken")
    around = (f"UDP4-RECVFROM:53,bind={HOST_IPV4},fork", "UDP4:203.0.113.53:53")
    forwarder = desk.lab.host.spawn("socat", "-T", "5", *around, log=desk.scratch / "socat.log")
    try:
        assert eventually(lambda: "REFUSED" in refusal(desk), 20), refusal(desk)
        assert process.stderr is not None
        assert eventually(lambda: "a query of ours came back to us" in read_line(process.stderr), 20)
    finally:
        forwarder.stop()


def refusal(desk: Desk) -> str:
    """Return what a program that asks the forwarder is told in full."""
    return desk.lab.host.run("dig", "+tries=1", "+time=20", "@203.0.113.53", desk.fresh()).stdout


def test_where_resolved_refuses_that_is_told_and_the_rest_works(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Resolved(desk.lab, more=REFUSING) as refusing:
        desk.resolved.stop()
        refusing.start()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", refusing.address)
        process = desk.up()
        found = desk.awaited("refused")
        words = "systemd-resolved does not ask us: org.freedesktop.resolve1: SetLinkDNS: not permitted"
        assert any(each.startswith(words) for each in found["problems"])
        assert process.stderr is not None
        assert words in read_line(process.stderr)
        assert desk.ask(desk.fresh(), server="203.0.113.53") == FAR_SAYS
        process.terminate()
        assert process.wait(20) == 0
    desk.resolved.start()


# the end of fake addresses


def listening(desk: Desk) -> socket.socket:
    """Return what takes connections where FAR's names lead to."""
    return desk.lab.world.listen(FAR_SAYS, 8080)


def fakes(desk: Desk, drain: float) -> Process:
    process = desk.up(f'servers = ["{FAR}"]\nmode = "fake-ip"\ndrain = {drain}')
    desk.awaited("taken")
    return process


def test_fake_addresses_are_drained_at_the_end(desk: Desk) -> None:
    """Names get real addresses at once; flows to fake ones go on, and new ones begin, while there are any."""
    process = fakes(desk, 200)
    name = desk.fresh()
    fake = desk.ask(name)
    assert fake.startswith("198.18.")
    with listening(desk) as listener:
        with desk.lab.host.connect(fake, 8080) as client, listener.accept()[0] as server:
            process.terminate()
            assert eventually(lambda: desk.ask(name) == FAR_SAYS, 20)
            client.sendall(b"still here")
            assert server.recv(100) == b"still here"
            with desk.lab.host.connect(fake, 8080) as late, listener.accept()[0] as other:
                other.sendall(b"for who remembers")
                assert late.recv(100) == b"for who remembers"
            assert process.poll() is None
        assert process.wait(30) == 0, "with the last flow it is over, long before its time"
    assert_as_before(desk)


def test_second_signal_ends_at_once(desk: Desk) -> None:
    process = fakes(desk, 200)
    name = desk.fresh()
    with listening(desk) as listener, desk.lab.host.connect(desk.ask(name), 8080), listener.accept()[0]:
        process.terminate()
        assert eventually(lambda: desk.ask(name) == FAR_SAYS, 20)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert_as_before(desk)
