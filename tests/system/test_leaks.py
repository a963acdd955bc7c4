"""No packet of a program leaves but through tunproxy, as long as that serves, whatever happens meanwhile.

    +- host ------------------------------+          +- world ------------------------------------+
    |  programs ─▶ TUN ─▶ worker     "out"|==========|  a SOCKS proxy at 198.51.100.1              |
    |  192.0.2.1, 2001:db8::1             |          |    │                                         |
    |  another way out:             "wifi"|==========|    ▼                                         |
    |  100.64.5.1, 2001:db8:5::1          |          |  203.0.113.7, .53, 2001:db8:200::7, ::53     |
    +-------------------------------------+          +---------------------------------------------+

A sniffer on every link but the TUN looks for packets to 203.0.113.0/24 and 2001:db8:200::/48. Programs talk
to these in all ways all the time. What the worker sends for them goes to the proxy; only pings it sends there
itself, with identifiers of its own. That the sniffer would see each way is shown before tunproxy starts, and
with routes that leave something out.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hostlab import WORLD_IPV4, HostLab, eventually
from tests.system.nursery import Nursery, Run
from tests.system.programs import ECHO, QUIC, RESOLVERS, TARGETS, WAYS, Programs, Way, answering
from tests.system.sniffer import Seen, Sniffer

pytestmark = pytest.mark.timeout(90)

TUN = "tunproxy0"
OTHER_UPLINK = "wifi"
PROXY_PORT = 1080
RELAY = f"""
listen = ["{WORLD_IPV4}:{PROXY_PORT}"]
workers = 1
anonymous = true
[targets]
allow = ["203.0.113.0/24", "2001:db8:200::/48", "{WORLD_IPV4}/32"]
default = "deny"
"""
CONFIG = f"""
default = "proxy"
rules = ["NETWORK,icmp,DIRECT"]
[dns]
servers = ["{WORLD_IPV4}"]
[upstreams.proxy]
type = "socks5"
server = "{WORLD_IPV4}"
port = {PROXY_PORT}
"""


class Desktop(HostLab):
    """The host with a second way out, a proxy in the world, programs that talk, and somebody who listens."""

    def __init__(self, nursery: Nursery, scratch: Path) -> None:
        super().__init__()
        self._nursery = nursery
        self._stack = contextlib.ExitStack()
        world, host = self.world, self.host
        host.ip("link", "add", OTHER_UPLINK, "type", "veth", "peer", "name", "air", "netns", world.name)
        for end, name, last in ((host, OTHER_UPLINK, "1"), (world, "air", "254")):
            end.ip("address", "add", f"100.64.5.{last}/24", "dev", name)
            end.ip("address", "add", f"2001:db8:5::{last}/64", "dev", name, "nodad")
            end.ip("link", "set", name, "up")
        for address in (*TARGETS.values(), *RESOLVERS.values()):
            world.ip("address", "add", address, "dev", "lo")
        assert eventually(lambda: "tentative" not in host.ip("-6", "address") + world.ip("-6", "address"))
        self._stack.enter_context(answering(world, WORLD_IPV4))
        self.config = scratch / "leaks.toml"
        self.config.write_text(CONFIG)
        relay = scratch / "relay.toml"
        relay.write_text(RELAY)
        proxy = self._stack.enter_context(
            contextlib.closing(nursery.start(world, "relay", "--config", str(relay)))
        )
        assert eventually(lambda: self._answers(WORLD_IPV4, PROXY_PORT)), proxy.said()
        with host.entered():
            self.sniffer = self._stack.enter_context(contextlib.closing(Sniffer([TUN])))
        self.programs = self._stack.enter_context(contextlib.closing(Programs(host)))

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        super().__exit__()

    @contextlib.contextmanager
    def up(self, *options: str) -> Iterator[Run]:
        """Run tunproxy; it carries packets, and ends as Ctrl-C does it."""
        options = ("--tun", TUN, "--config", str(self.config), *options)
        with contextlib.closing(self._nursery.start(self.host, "up", *options)) as run:
            run.expect("worker uid")
            yield run
            run.kill(signal.SIGTERM)
            assert run.wait() == 0, run.said()

    def leaks(self, since: float) -> list[Seen]:
        """Return the packets that left past us, of conversations that began after since."""
        begun = self.programs.begun
        return [
            seen
            for seen in self.sniffer.found()
            if begun.get((seen.protocol, seen.port), 0 if seen.protocol == "ping" else since) >= since
        ]

    def use(self, uplink: str) -> None:
        """Have the default routes of both families lead out there. The kernel forgets IPv6 with the link."""
        own = {"out": "2001:db8::1/64", OTHER_UPLINK: "2001:db8:5::1/64"}[uplink]
        self.host.ip("link", "set", uplink, "up")
        self.host.ip("address", "replace", own, "dev", uplink, "nodad")
        ways = {"out": ("192.0.2.254", "2001:db8::fe"), OTHER_UPLINK: ("100.64.5.254", "2001:db8:5::254")}
        for router in ways[uplink]:
            self.host.ip("route", "replace", "default", "via", router, "dev", uplink)


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a host for the tests")
    with contextlib.closing(Nursery()) as nursery, Desktop(nursery, tmp_path) as made:
        yield made


def test_nothing_leaks(desktop: Desktop) -> None:
    """From the start line on, through reloads, a worker's death and other uplinks, until it is to stop."""
    programs, sniffer = desktop.programs, desktop.sniffer
    programs.go_on()
    for way in WAYS:  # this is how a leak would look
        assert way_of(sniffer.found(), way), f"the sniffer does not see {way}"
    with desktop.up("--workers", "2") as run:
        since = time.monotonic()
        programs.go_on()
        run.kill(signal.SIGHUP)
        run.expect("policy 2 is in force")
        programs.go_on()
        new = desktop.config.with_suffix(".new")  # in one step: half a configuration is another one
        new.write_text(CONFIG + "# saved\n")
        new.replace(desktop.config)
        run.expect("policy 3 is in force")
        programs.go_on()
        os.kill(run.children()[0], signal.SIGKILL)
        programs.go_on()
        run.expect("another one takes its place")
        desktop.use(OTHER_UPLINK)
        programs.go_on()
        desktop.host.ip("link", "set", "out", "down")
        programs.go_on()
        desktop.use("out")
        desktop.host.ip("link", "set", OTHER_UPLINK, "down")
        programs.go_on()
        leaks = desktop.leaks(since)
    sniffer.close()
    assert sniffer.lost == 0
    assert sniffer.looked_at["out"] > 100
    assert sniffer.looked_at[OTHER_UPLINK] > 100
    assert not leaks


def test_what_routes_leave_out_is_seen(desktop: Desktop) -> None:
    """The test above would fail."""
    with desktop.up("--route", f"{RESOLVERS[4]}/32", "--route", f"{RESOLVERS[6]}/128") as run:
        since = time.monotonic()
        desktop.programs.go_on()
        leaks = desktop.leaks(since)
        assert run.is_running()
    for way in WAYS:
        assert bool(way_of(leaks, way)) == (not way.name.startswith("dns")), way


def way_of(packets: list[Seen], way: Way) -> list[Seen]:
    port = {"tcp": ECHO, "udp": ECHO, "quic": QUIC, "ping": 0}.get(way.name, 53)
    return [seen for seen in packets if seen.kind == (way.protocol, way.family) and seen.target_port == port]
