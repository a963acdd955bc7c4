"""What does not come to us, asked of the kernel: policy rules and routes of others decide with ours.

``explain`` says so of a flow that would never be ours to decide, and ``status`` where nothing that programs
send into the world comes to us any more, because another VPN's rule or routes stand in front.
"""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final  # Any: a record, as JSON has it

from tunproxy.control.settings import parse_network
from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Network
from tunproxy.host.cgroups import INCLUDED
from tunproxy.host.netlink import Netlink
from tunproxy.host.rules import GROUPS
from tunproxy.host.scope import Scope, complement
from tunproxy.host.surroundings import FAR_IPV4, FAR_IPV6

if TYPE_CHECKING:
    from collections.abc import Callable

_PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_HTTPS: Final = 443


@dataclass(frozen=True)
class LeftAlone:
    """tun is our device, routes what goes into it, scope what is captured of that, worker who carries it.

    in_lane returns which prefix of the kernel-direct lane a target is in, "" for none. versions are those
    of IP that tun had when it was made.
    """

    tun: str
    routes: tuple[str, ...]
    scope: Scope
    worker: int
    in_lane: "Callable[[str, int], str]" = lambda address, port: ""
    versions: tuple[int, ...] = (4, 6)

    def why(self, net: Netlink, target: str, uid: int = -1, protocol: int = 0, port: int = 0) -> str:
        """Return why packets of a user for an address do not come to us, "" where they do, or go nowhere.

        A uid of -1 is anybody whose programs are captured. Raises SystemChangeError.
        """
        if any(_has(each, target) for each in GROUPS[ip_address(target).version]):
            return "groups, and what is link-local, do not lead beyond the link"
        if any(_has(each, target) for each in net.local_prefixes()):
            return "it is this host itself"
        excluded = [each for each in self.scope.excluded if _has(each, target)]
        if excluded:
            return f"exclude-networks has {excluded[0]}"
        if any(first <= uid <= last for first, last in self.scope.users_left_alone()):
            return f"programs of user {uid} are left alone"
        sender = uid if uid >= 0 else self._anybody()
        if sender < 0 or self.in_lane(target, port):
            return ""
        mark = INCLUDED if self.scope.only_cgroups else 0
        way = net.way_to(target, uid=sender, mark=mark, protocol=protocol, port=port)
        if way is None or way.link == self.tun:
            return ""
        near = [each for each in net.near_prefixes() if _has(each, target)]
        if near:
            best = max(near, key=lambda each: each.prefixlen)
            return f"the table main has a way to {best}, out at {way.link}"
        if not any(_has(parse_network(each), target) for each in self.routes):
            return f"it is not among what is routed into {self.tun}"
        version = ip_address(target).version
        if version not in self.versions:
            return f"{self.tun} had no IPv{version} when it was made (start tunproxy anew)"
        return f"a policy rule of somebody else leads it out at {way.link} (see: ip rule)"

    def of_record(self, record: "dict[str, Any]") -> str:
        """Return the same of a why-record of a flow that nobody has made, "" also where it cannot be said."""
        flow, process = record["flow"], record["inputs"]["process"]
        if not flow["target"] or (flow["client"] and not self._is_ours(flow["client"])):
            return ""  # who has chosen his source address, or is another host, goes another way
        uid = process["uid"] if process["uid"] is not None else -1
        protocol = _PROTOCOLS.get(flow["protocol"], 0)
        try:
            with Netlink() as net:
                return self.why(net, flow["target"], uid, protocol, flow["target_port"] or 0)
        except (SystemChangeError, ValueError):
            return ""

    def of_everything(self, net: Netlink) -> list[str]:
        """Return a sentence for each version of IP over which nothing comes to us that should.

        Raises SystemChangeError.
        """
        found = []
        for everything, target in (("0.0.0.0/0", FAR_IPV4), ("::/0", FAR_IPV6)):
            if everything not in self.routes or any(_has(each, target) for each in self.scope.excluded):
                continue
            why = self.why(net, target, protocol=socket.IPPROTO_TCP, port=_HTTPS)
            if why:
                version = 6 if ":" in target else 4
                found.append(f"what programs send over IPv{version} goes past us: {why}")
        return found

    def _is_ours(self, address: str) -> bool:
        return any(str(each.ip) == address for each in (TUN_IPV4, TUN_IPV6))

    def _anybody(self) -> int:
        """Return a user whose programs are captured, -1 where there is none."""
        captured = complement([*self.scope.users_left_alone(), (self.worker, self.worker)])
        return captured[0][0] if captured else -1


def _has(prefix: Network, target: str) -> bool:
    address = ip_address(target)
    return prefix.version == address.version and address in prefix
