"""The namespaces that a program is tried in, the servers, and what the cases ask of both.

    cases ── packet socket ── device ── [program] ── its sockets        services
                     +- host ------------------------------+   +- server -----------+   +- far --------+
                     |  tun / tap            uplink 10.99.0.2 == 10.99.0.1  10.98.1.1-9 == 10.94.0.2   |
                     +-------------------------------------+   +--------------------+   +--------------+

We are 10.97.0.100 and fd97::100. No kernel has these addresses, so none answers in our place.
"""

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.abuse import packets
from tests.bench.abuse.packets import Packet
from tests.bench.abuse.wire import MAC, Wire
from tests.system.namespace import Namespace, Program, delete_leftovers, family_of

US, US6 = "10.97.0.100", "fd97::100"
GATEWAY, GATEWAY6 = "10.97.0.2", "fd97::2"
SERVICE, SERVICE6 = "10.98.1.1", "fd98:1::1"
SECOND, THIRD = "10.98.1.2", "10.98.1.3"
SILENT = "10.98.1.9"  # the server drops what goes there
NO_HOST = "10.98.2.1"  # the server says: host unreachable
ABSENT = "10.99.0.99"  # on the uplink, and nobody answers for it
FAR = "10.94.0.2"  # one router further
UPLINK, DOWNLINK = "uplink", "downlink"
_ports = itertools.count(20_000)


class Failed(Exception):
    """A program did something else than the rule asks for; the text says what."""


class Absent(Exception):
    """A program does not offer what a case is about, and no rule says that it must."""


class Rig:
    """Namespaces, servers and the wire; a program is started into it by `peers`."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.wire: Wire
        self.pids: list[int] = []  # the program's processes, for its memory; none for the bare kernel
        self.lacks: frozenset[str] = frozenset()  # what the program was not made to carry
        self.is_broken = False  # it serves nobody any more
        self.notes: list[str] = []  # what a case measured, for the table
        self.programs: list[Program] = []
        self._namespaces: list[Namespace] = []
        self._sockets: list[socket.socket] = []
        delete_leftovers()
        try:
            self.server, self.host = self.namespace("server"), self.namespace("host")
            self.far = self.namespace("far")
            self._build()
        except BaseException:
            self.close()
            raise

    def namespace(self, role: str) -> Namespace:
        made = Namespace(role)
        self._namespaces.append(made)
        return made

    def close(self) -> None:
        self.end_case()
        if hasattr(self, "wire"):
            self.wire.close()
        for program in self.programs:
            program.stop()
        for namespace in self._namespaces:
            namespace.delete()
        self._namespaces.clear()

    def end_case(self) -> None:
        """Close the sockets of a case and forget its packets."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if hasattr(self, "wire"):
            self.wire.forget()

    def note(self, text: str) -> None:
        """Say what a case measured; it stands beside its verdict."""
        self.notes.append(text)

    def port(self) -> int:
        """Return a TCP or UDP port that no case has used."""
        return next(_ports)

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close a socket when the case is over."""
        self._sockets.append(sock)
        return sock

    def listen(self, address: str = SERVICE) -> socket.socket:
        made = self.keep(self.server.listen(address, self.port(), backlog=4096))
        made.settimeout(2)
        return made

    def datagram(self, address: str = SERVICE, namespace: Namespace | None = None) -> socket.socket:
        made = self.keep((namespace or self.server).datagram(address, self.port()))
        made.settimeout(2)
        return made

    def accept(self, listener: socket.socket, timeout: float = 2) -> socket.socket:
        """Accept; fail where no connection comes."""
        listener.settimeout(timeout)
        try:
            sock = self.keep(listener.accept()[0])
        except TimeoutError:
            raise Failed("no connection reached the target") from None
        sock.settimeout(2)
        return sock

    def not_connected(self, listener: socket.socket, seconds: float = 0.3) -> None:
        """Fail where a connection reaches the target within that time."""
        listener.settimeout(seconds)
        try:
            self.keep(listener.accept()[0])
        except TimeoutError:
            return
        raise Failed("a connection was made to the target")

    @contextlib.contextmanager
    def deaf(self, port: int) -> Iterator[None]:
        """Let the server drop what comes for a TCP port, meanwhile."""
        self.server.nft(
            "table inet deaf {\n chain in {\n  type filter hook input priority 0; policy accept;\n"
            f"  tcp dport {port} drop\n }}\n}}\n"
        )
        try:
            yield
        finally:
            self.server.nft("delete table inet deaf\n")

    def resident(self) -> int:
        """Return the octets of memory that the program's processes hold and share with nobody."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                total += sum(1024 * int(kb) for kb in re.findall(r"RssAnon:\s+(\d+) kB", status))
        return total

    def processes(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(entry.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.parent.name))
        found = list(self.pids)
        for pid in found:
            found.extend(children.get(pid, ()))
        return found

    def is_alive(self) -> bool:
        return all(Path("/proc", str(pid)).exists() and not _is_zombie(pid) for pid in self.pids)

    def udp_answer(self, port: int, timeout: float = 2) -> Packet | None:
        return self.wire.wait(
            lambda p: p.proto == packets.UDP and p.dport == port and not p.fragment, timeout
        )

    def icmp_error(self, timeout: float = 2, target: str | None = None) -> Packet | None:
        """Return an ICMP error that quotes a packet of ours (to target, where given)."""

        def wanted(packet: Packet) -> bool:
            if packet.proto == packets.ICMP and packet.body[0] in (3, 11, 12):
                quoted = packet.body[8:]
                return target is None or (len(quoted) >= 20 and socket.inet_ntoa(quoted[16:20]) == target)
            return packet.proto == packets.ICMPV6 and packet.body[0] in (1, 2, 3, 4)

        return self.wire.wait(wanted, timeout)

    def _build(self) -> None:
        server, host, far = self.server, self.host, self.far
        _link(host, UPLINK, "99", 2, server, DOWNLINK, 1)
        _link(server, "tofar", "94", 1, far, "toserver", 2)
        for address in (SERVICE, SECOND, THIRD, SILENT):
            server.ip("address", "add", f"{address}/32", "dev", "lo")
        server.ip("address", "add", f"{SERVICE6}/128", "dev", "lo", "nodad")
        server.nft(
            "table inet silent {\n chain in {\n  type filter hook input priority 0; policy accept;\n"
            f"  ip daddr {SILENT} drop\n }}\n}}\n"
        )
        server.sysctl("net/ipv4/ip_forward", "1")
        server.sysctl("net/ipv6/conf/all/forwarding", "1")
        server.ip("route", "add", "unreachable", "10.98.2.0/24")
        host.ip("route", "add", "default", "via", "10.99.0.1")
        host.ip("-6", "route", "add", "default", "via", "fd99::1")
        far.ip("route", "add", "default", "via", "10.94.0.1")
        for namespace in (server, host):
            namespace.sysctl("net/ipv4/tcp_max_syn_backlog", "65536")
        until = time.monotonic() + 10
        with server.listen(SERVICE) as one, server.listen(SERVICE6) as other:
            for listener in (one, other):
                while True:
                    try:
                        host.connect_to(listener, 0.3).close()
                        break
                    except OSError:
                        if time.monotonic() > until:
                            raise


def route_us_back(rig: Rig) -> None:
    """Let the server's own kernel be the other side, with no program between."""
    mac = ":".join(f"{octet:02x}" for octet in MAC)
    for family, net, address in (("-4", "10.97.0.0/24", US), ("-6", "fd97::/64", US6)):
        rig.server.ip(family, "route", "add", net, "dev", DOWNLINK)
        rig.server.ip(family, "neigh", "replace", address, "lladdr", mac, "dev", DOWNLINK)


def _link(
    one: Namespace, device: str, net: str, last: int, other: Namespace, peer: str, peer_last: int
) -> None:
    one.ip("link", "add", device, "type", "veth", "peer", "name", peer, "netns", other.name)
    for end, name, number in ((one, device, last), (other, peer, peer_last)):
        end.ip("address", "add", f"10.{net}.0.{number}/24", "dev", name)
        end.ip("address", "add", f"fd{net}::{number}/64", "dev", name, "nodad")
        end.ip("link", "set", name, "up")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_six(address: str) -> bool:
    return family_of(address) == socket.AF_INET6
