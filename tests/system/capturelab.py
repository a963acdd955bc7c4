"""A desktop with what a desktop has: a LAN with a resolver, a container behind a bridge, another VPN.

    +- container ----+     +- host (hostlab) ---------------------+      +- world --------------------+
    |  172.18.0.2  c0|=====|ctr0  172.18.0.1, fd18::1, MASQUERADE |      |  198.51.100.1              |
    |  fd18::2       |     |  out  192.0.2.1                      |======|  192.0.2.254               |
    +----------------+     |  wg0  10.66.0.1, marked UDP ---------|------|  wg0  10.66.0.2, UDP 51820 |
    +- neighbour ----+     |                                      |      +----------------------------+
    |  10.20.0.53 n0 |=====|lan0  10.20.0.1, fd20::1              |
    +----------------+     +--------------------------------------+

The VPN is a process on each side that carries packets between a TUN and a UDP socket; the host's socket has
the mark that wg-quick gives WireGuard's, and the same policy rules stand beside it.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

from tests.system.hostlab import ROUTER_IPV4, WORLD_IPV4, HostLab
from tests.system.namespace import Namespace

CONTAINER_IPV4, CONTAINER_IPV6 = "172.18.0.2", "fd18::2"
NEIGHBOUR_IPV4, NEIGHBOUR_IPV6 = "10.20.0.53", "fd20::53"
VPN_HOST, VPN_PEER = "10.66.0.1", "10.66.0.2"
VPN_PORT = 51_820
VPN_MARK = 51_820
VPN_TABLE = "51820"

TUNNEL = """
import fcntl, os, select, socket, struct, sys
name, port, peer, mark = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if mark:
    sock.setsockopt(socket.SOL_SOCKET, 36, mark)
sock.bind(("", port))
where = (peer, 51820) if peer else None
print("ready", flush=True)
while True:
    for fd in select.select([tun, sock], [], [])[0]:
        if fd is sock:
            data, sender = sock.recvfrom(65536)
            where = where if peer else sender
            os.write(tun, data)
        elif where is not None:
            packet = os.read(tun, 65536)
            try:
                sock.sendto(packet, where)
            except OSError:
                pass
"""


class CaptureLab(HostLab):
    """The host of ``hostlab`` with a container, a LAN, and a VPN beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.container = Namespace("container")
        self.neighbour = Namespace("neighbour")
        self._join(
            self.container, "ctr0", "c0", ("172.18.0.1/24", "172.18.0.2/24"), ("fd18::1/64", "fd18::2/64")
        )
        self._join(
            self.neighbour, "lan0", "n0", ("10.20.0.1/24", "10.20.0.53/24"), ("fd20::1/64", "fd20::53/64")
        )
        for address in ("172.18.0.1", "fd18::1"):
            self.container.ip("route", "add", "default", "via", address)
        for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.host.sysctl(key, "1")
        self.host.nft(
            "table inet docker { chain post { type nat hook postrouting priority srcnat;\n"
            'ip saddr 172.18.0.0/24 oifname != "ctr0" masquerade\n'
            'ip6 saddr fd18::/64 oifname != "ctr0" masquerade\n}\n}\n'
        )
        self._start_vpn()
        self.settle("ctr0", "lan0", "wg0")

    def __exit__(self, *exc: object) -> None:
        for end in self._vpn:
            end.kill()
            end.communicate()
        super().__exit__(*exc)
        for namespace in (self.container, self.neighbour):
            namespace.delete()

    def _join(
        self, other: Namespace, ours: str, theirs: str, ipv4: tuple[str, str], ipv6: tuple[str, str]
    ) -> None:
        self.host.ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", other.name)
        for place, name, at in ((self.host, ours, 0), (other, theirs, 1)):
            place.ip("address", "add", ipv4[at], "dev", name)
            place.ip("address", "add", ipv6[at], "dev", name, "nodad")
            place.ip("link", "set", name, "up")

    def _start_vpn(self) -> None:
        self._vpn = []
        ends = ((self.world, "0", "", VPN_PEER), (self.host, str(VPN_MARK), WORLD_IPV4, VPN_HOST))
        for namespace, mark, peer, address in ends:
            with namespace.entered():
                end = subprocess.Popen(
                    [sys.executable, "-c", TUNNEL, "wg0", str(VPN_PORT), peer, mark],
                    stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
            assert end.stdout is not None
            assert end.stdout.readline() == "ready\n"
            self._vpn.append(end)
            namespace.ip("address", "add", f"{address}/24", "dev", "wg0")
            namespace.ip("link", "set", "wg0", "up")

    @contextlib.contextmanager
    def vpn_of_everything(self) -> Iterator[None]:
        """Do meanwhile what wg-quick does for AllowedIPs = 0.0.0.0/0."""
        rules = (
            ("not", "fwmark", str(VPN_MARK), "table", VPN_TABLE, "pref", "32764"),
            ("table", "main", "suppress_prefixlength", "0", "pref", "32763"),
        )
        self.host.ip("route", "add", "default", "dev", "wg0", "table", VPN_TABLE)
        for rule in rules:
            self.host.ip("rule", "add", *rule)
        try:
            yield
        finally:
            for rule in rules:
                self.host.ip("rule", "del", *rule)
            self.host.ip("route", "flush", "table", VPN_TABLE)

    @contextlib.contextmanager
    def vpn_of_both_halves(self) -> Iterator[None]:
        """Do meanwhile what OpenVPN does for ``redirect-gateway def1 ipv6``."""
        routes = [
            (half, "dev", "wg0") for half in ("0.0.0.0/1", "128.0.0.0/1", "::/3", "2000::/4", "3000::/4")
        ]
        routes.append((WORLD_IPV4, "via", ROUTER_IPV4))  # its own packets
        for route in routes:
            self.host.ip("route", "add", *route)
        try:
            yield
        finally:
            for route in routes:
                self.host.ip("route", "del", *route)

    def carried(self, interface: str, direction: str = "rx") -> int:
        """Return how many packets a link of the host has carried; tx is what left the host by it."""
        with self.host.entered():
            text = subprocess.run(
                ["ip", "-s", "-j", "link", "show", "dev", interface],
                capture_output=True,
                text=True,
                timeout=30,
            ).stdout
        return int(json.loads(text)[0]["stats64"][direction]["packets"])


@contextlib.contextmanager
def resolver(namespace: Namespace, address: str) -> Iterator[list[bytes]]:
    """Answer every query over UDP with "no such name"; yields the queries that came."""
    queries: list[bytes] = []
    ended = threading.Event()
    with namespace.datagram(address, 53) as sock:
        sock.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    query, sender = sock.recvfrom(2000)
                    queries.append(query)
                    sock.sendto(query[:2] + b"\x81\x83" + query[4:], sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield queries
        finally:
            ended.set()
            thread.join(5)
