"""Network namespaces in which tests run applications, tunproxy and servers; made and removed by the tests.

    applications, routed by the lab           tunproxy's own sockets              services
    +- host --------------------------------------------------+      +- server ----------------------+
    |  the tests' sockets -> rule -> tun0 -> [tunproxy] -> mark -> uplink == downlink -> addresses on lo  |
    |  10.97.0.1, fd97::1                     10.99.0.2, fd99::2     10.98.1.1 to .3, fd98:1::1 to ::3    |
    +---------------------------------------------------------+      +-------------------------------+

With ``behind_router`` the applications have a namespace of their own, ``client`` (10.96.0.2, fd96::2), and
the host forwards for them: what is dropped on that link is really lost between the application and tunproxy.

``TUNPROXY_LAB=kernel`` leaves tunproxy and its routes out. A test that fails then is wrong itself.
"""

import contextlib
import itertools
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.system.namespace import Namespace, Program, command, delete_leftovers
from tests.system.proxy import Proxy

TUN = "tun0"
MARK = 0x7A
TABLE = 4242
UPLINK, DOWNLINK = "uplink", "downlink"  # the two ends of the link between host and server
CLIENT_END, HOST_END = "tohost", "toclient"  # the same between applications and host, with behind_router
READY = 30.0  # seconds that a program may take until it serves, on a machine that does other things too
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Family:
    """How the lab numbers one address family."""

    name: str
    af: socket.AddressFamily
    hosts: tuple[str, str, str]  # services; all three are the server
    silent: str  # the server drops what goes there
    absent: str  # on the link to the server, but nobody answers for it
    no_host: str  # the server says: host unreachable
    no_net: str  # the host itself has no route there
    tun: str
    any: str

    @property
    def host(self) -> str:
        return self.hosts[0]

    def url(self, port: int, path: str = "/") -> str:
        return f"http://{self.literal()}:{port}{path}"

    def literal(self) -> str:
        """Return the service address as it stands in a URL."""
        return f"[{self.host}]" if self.af == socket.AF_INET6 else self.host


IPV4 = Family(
    "ipv4", socket.AF_INET, ("10.98.1.1", "10.98.1.2", "10.98.1.3"), "10.98.1.9", "10.99.0.99", "10.98.2.1",
    "10.98.3.1", "10.97.0.1", "0.0.0.0",
)  # fmt: skip
IPV6 = Family(
    "ipv6", socket.AF_INET6, ("fd98:1::1", "fd98:1::2", "fd98:1::3"), "fd98:1::9", "fd99::99", "fd98:2::1",
    "fd98:3::1", "fd97::1", "::",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What differs between labs."""

    mtu: int = 1500
    device_mtu: int = 0  # what somebody else sets the device to once tunproxy runs; 0: nobody does
    udp_timeout: int = 2  # seconds; short, so that a leaked association shows
    behind_router: bool = False


class Lab:
    """The namespaces, and tunproxy in the middle unless TUNPROXY_LAB=kernel."""

    def __init__(self, scratch: Path, options: Options | None = None) -> None:
        self.options = options or Options()
        self.scratch = scratch
        self.with_proxy = os.environ.get("TUNPROXY_LAB", "proxy") != "kernel"
        self.proxy: Proxy | None = None
        self._namespaces: list[Namespace] = []
        self._programs: list[Program] = []
        delete_leftovers()
        try:
            self.server = self._namespace("server")
            self.host = self._namespace("host")
            self.client = self._namespace("client") if self.options.behind_router else self.host
            self._link_host_and_server()
            if self.options.behind_router:
                self._link_client_and_host()
            self._wait_for_neighbours()
            self.ensure_proxy()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End every program, remove every namespace."""
        if self.proxy is not None:
            self.proxy.stop()
        for program in self._programs:
            program.stop()
        for namespace in self._namespaces:
            namespace.delete()
        self._namespaces.clear()

    def ensure_proxy(self) -> None:
        """Start tunproxy where the lab has one and it does not run (any more)."""
        if not self.with_proxy or (self.proxy is not None and self.proxy.is_alive()):
            return
        if self.proxy is not None:
            self.proxy.stop()
        options = ["--tun", TUN, "--mark", str(MARK), "--no-route", "--mtu", str(self.options.mtu)]
        with self.host.entered():
            self.proxy = Proxy([*options, "--udp-timeout", str(self.options.udp_timeout)], self.scratch)
            self.proxy.wait_until_serving(Path("/proc/sys/net/ipv4/conf", TUN), READY)
        self._route_into_tun()
        self._prove_path()
        self.proxy.note_baseline()

    def start(self, namespace: Namespace, *argv: str, env: dict[str, str] | None = None) -> Program:
        """Run a program until the lab closes."""
        log = self.scratch / f"{Path(argv[0]).name}-{next(_numbers)}.log"
        program = namespace.spawn(*argv, log=log, env=env)
        self._programs.append(program)
        return program

    def start_serving(
        self, *argv: str, port: int, address: str = IPV4.host, env: dict[str, str] | None = None
    ) -> Program:
        """Run a server in the server namespace and wait until it listens there at its TCP port.

        Nothing connects: a server of one client at a time would be busy with that one, or end.
        """
        program = self.start(self.server, *argv, env=env)
        until = time.monotonic() + READY
        while not self.server.listens(address, port):
            if program.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{argv[0]}: does not listen: {program.log.read_text(errors='replace')}")
            time.sleep(0.02)
        return program

    @contextlib.contextmanager
    def filtering(self, namespace: Namespace, device: str, rule: str) -> Iterator[Callable[[], int]]:
        """Apply one nftables rule to what arrives on a device, meanwhile; yield what counts its matches.

        rule is a match and one statement; the statement is its last part, from ``drop`` or ``@`` on.
        """
        match, statement, rest = re.fullmatch(r"(.*?)(drop|@)(.*)", rule).groups()  # type: ignore[union-attr]
        table = f"lab_{device}"
        namespace.nft(
            f"table netdev {table} {{\n counter hits {{ }}\n chain arriving {{\n"
            f"  type filter hook ingress device {device} priority 0; policy accept;\n"
            f"  {match} counter name hits {statement}{rest}\n }}\n}}\n"
        )

        def hits() -> int:
            with namespace.entered():
                listing = command("nft", "list", "counter", "netdev", table, "hits")
            return int(listing.partition("packets ")[2].split()[0])

        try:
            yield hits
        finally:
            namespace.nft(f"delete table netdev {table}\n")

    def _namespace(self, role: str) -> Namespace:
        made = Namespace(role)
        self._namespaces.append(made)
        return made

    def _link_host_and_server(self) -> None:
        host, server = self.host, self.server
        _link(host, UPLINK, "99", 2, server, DOWNLINK, 1)
        for address in (*IPV4.hosts, IPV4.silent):
            server.ip("address", "add", f"{address}/32", "dev", "lo")
        for address in (*IPV6.hosts, IPV6.silent):
            server.ip("address", "add", f"{address}/128", "dev", "lo", "nodad")
        server.nft(
            "table inet lab {\n chain in {\n  type filter hook input priority 0; policy accept;\n"
            f"  ip daddr {IPV4.silent} drop\n  ip6 daddr {IPV6.silent} drop\n }}\n}}\n"
        )
        server.sysctl("net/ipv4/ip_forward", "1")
        server.sysctl("net/ipv6/conf/all/forwarding", "1")
        server.ip("route", "add", "unreachable", "10.98.2.0/24")
        server.ip("-6", "route", "add", "unreachable", "fd98:2::/64")
        host.ip("route", "add", "default", "via", "10.99.0.1")
        host.ip("-6", "route", "add", "default", "via", "fd99::1")
        host.ip("route", "add", "throw", "10.98.3.0/24")
        host.ip("-6", "route", "add", "throw", "fd98:3::/64")

    def _link_client_and_host(self) -> None:
        client, host = self.client, self.host
        _link(client, CLIENT_END, "96", 2, host, HOST_END, 1)
        client.ip("route", "add", "default", "via", "10.96.0.1")
        client.ip("-6", "route", "add", "default", "via", "fd96::1")
        host.sysctl("net/ipv4/ip_forward", "1")
        host.sysctl("net/ipv6/conf/all/forwarding", "1")
        # Answers to the applications must not follow the rule that leads into the TUN.
        host.ip("rule", "add", "pref", "90", "to", "10.96.0.0/24", "lookup", "main")
        host.ip("-6", "rule", "add", "pref", "90", "to", "fd96::/64", "lookup", "main")
        self.server.ip("route", "add", "10.96.0.0/24", "via", "10.99.0.2")
        self.server.ip("-6", "route", "add", "fd96::/64", "via", "fd99::2")

    def _wait_for_neighbours(self) -> None:
        """Connect in each family before tunproxy is there: what a new link loses first is not its fault."""
        for family in (IPV4, IPV6):
            with self.server.listen(family.host) as listener:
                self._connect_until_it_works(listener, timeout=0.2)

    def _route_into_tun(self) -> None:
        """Send everything into the TUN but what tunproxy marked, or the kernel answers on its behalf."""
        host, table = self.host, str(TABLE)
        mtu = self.options.device_mtu or self.options.mtu
        host.ip("link", "set", "dev", TUN, "mtu", str(mtu), "up")
        families = [("-4", f"{IPV4.tun}/32", "10.99.0.2")]
        if mtu >= 1280:  # RFC 8200 §5: IPv6 asks for this much
            families.append(("-6", f"{IPV6.tun}/128", "fd99::2"))
        for family, address, uplink in families:
            host.ip(family, "address", "replace", address, "dev", TUN, *(["nodad"] if family == "-6" else []))
            host.ip(family, "route", "replace", "default", "dev", TUN, "table", table)
            if f"lookup {table}" in host.ip(family, "rule", "show"):
                continue  # rules outlive the device, its address and its routes do not
            host.ip(family, "rule", "add", "pref", "100", "from", uplink, "lookup", "main")
            host.ip(family, "rule", "add", "pref", "110", "not", "fwmark", hex(MARK), "lookup", table)

    def _prove_path(self) -> None:
        """Return once one connection came through, so that the first test does not pay for the start."""
        with self.server.listen(IPV4.host) as listener:
            self._connect_until_it_works(listener, timeout=2)

    def _connect_until_it_works(self, listener: socket.socket, timeout: float) -> None:
        until = time.monotonic() + READY
        while True:
            try:
                with self.client.connect_to(listener, timeout), listener.accept()[0]:
                    return
            except OSError as error:
                if time.monotonic() > until or not (self.proxy is None or self.proxy.is_alive()):
                    why = self.proxy.output() if self.proxy else "without tunproxy"
                    raise RuntimeError(f"nothing comes through: {error}: {why}") from error
                time.sleep(0.05)


def _link(
    one: Namespace, device: str, net: str, number: int, other: Namespace, peer: str, peer_number: int
) -> None:
    one.ip("link", "add", device, "type", "veth", "peer", "name", peer, "netns", other.name)
    for end, name, last in ((one, device, number), (other, peer, peer_number)):
        end.ip("address", "add", f"10.{net}.0.{last}/24", "dev", name)
        end.ip("address", "add", f"fd{net}::{last}/64", "dev", name, "nodad")
        end.ip("link", "set", name, "up")
