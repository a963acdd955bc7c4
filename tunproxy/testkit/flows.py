"""Flows that nobody began."""

import ipaddress
import zlib
from typing import Final

from tunproxy.flow.verdict import FlowInfo
from tunproxy.rules.facts import Facts
from tunproxy.upstream.proxy import is_address

PROTOCOLS: Final = ("tcp", "udp", "icmp")
CLIENT_PORT: Final = 40_000

_NAMED: Final = (198 << 24) + (51 << 16) + (100 << 8)  # 198.51.100.0/24 is for examples (RFC 5737)


def make_flow(protocol: str, client: str, target: str, *, host: str = "", name: str = "") -> FlowInfo:
    """Return a flow as a plugin would be asked about it; client and target are ``host:port``.

    The client is an address, its port 40000 unless given. The target is an address or a name: a name
    becomes the flow's host, as if it had been given a fake address, and gets one out of 198.51.100.0/24,
    always the same. With name, DNS has told the client that the target has that name. IPv6 addresses with a
    port are in brackets. A ping has no ports. Raises ValueError.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"there is no protocol {protocol!r} ({', '.join(PROTOCOLS)})")
    client_host, client_port = split(client)
    target_host, target_port = split(target)
    if protocol == "icmp":
        if client_port is not None or target_port is not None:
            raise ValueError("a ping has no ports")
        client_port = target_port = 0
    if target_port is None:
        raise ValueError(f"{target!r} has no port (write {target}:443)")
    address = _address_of(target_host)
    packed_client = ipaddress.ip_address(client_host).packed
    if len(packed_client) == 16 and not is_address(target_host):
        address = ipaddress.IPv6Address(b"\x20\x01\x0d\xb8" + bytes(8) + address.packed)
    if len(packed_client) != len(address.packed):
        raise ValueError(f"{client_host} and {address} are not of one family")
    host = host or ("" if is_address(target_host) else target_host.lower().rstrip("."))
    port = CLIENT_PORT if client_port is None else client_port
    info = FlowInfo(protocol, packed_client, port, address.packed, target_port, host)
    if name:
        info.name, info.name_from = name, "dns"
    return info


def make_facts(info: FlowInfo, **known: object) -> Facts:
    """Return what rules know of a flow; known sets further fields, such as ``process_name="curl"``.

    Where one of the process's fields is given, the others are known to be unknown. Raises AttributeError
    for a field that facts do not have.
    """
    facts = Facts(info.protocol, info.client, info.client_port, info.target, info.target_port)
    facts.host = info.name
    facts.host_from = info.name_from
    for name, value in known.items():
        if not hasattr(facts, name):
            raise AttributeError(f"facts have no {name!r}")
        setattr(facts, name, value)
        if name in ("process_name", "process_path", "uid", "cgroup", "unit", "app"):
            facts.process_asked = True
    return facts


def split(text: str) -> tuple[str, int | None]:
    """Return host and port of ``host:port``, ``[address]:port`` or ``host``. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, ""
    host = host.strip("[]")
    if not host:
        raise ValueError(f"{text!r} has no host")
    if not port:
        return host, None
    if not port.isdecimal() or not 0 <= int(port) <= 0xFFFF:
        raise ValueError(f"{port!r} is not a port (0 to 65535)")
    return host, int(port)


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that host is, or the one that stands for this name."""
    if is_address(host):
        return ipaddress.ip_address(host)
    return ipaddress.IPv4Address(_NAMED + 1 + zlib.crc32(host.lower().rstrip(".").encode()) % 254)
