"""Where a proxy takes datagrams: what it says, unless that makes no sense or is somebody else."""

import ipaddress

from tunproxy.plugin.api import OpenError

from .version5 import NAME


def relay_address(bound: tuple[bytes, int], kind: int, server: str) -> tuple[str, int]:
    """Return the host and port that the answer to UDP ASSOCIATE means; server is the proxy's own address.

    0.0.0.0 and :: are the proxy itself, as everybody reads it. Raises OpenError for what leads nowhere.
    """
    address, port = bound
    if port == 0:
        raise OpenError("the proxy takes datagrams at port 0")
    if kind == NAME:
        return address.decode("ascii", "replace"), port
    found = ipaddress.ip_address(address)
    if found.is_unspecified:
        return server, port
    refuse_strays(str(found), server)
    return str(found), port


def refuse_strays(address: str, server: str) -> None:
    """Raise OpenError where a proxy at server points us at ourselves, or at many."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.is_multicast or (found.is_loopback and not ipaddress.ip_address(server).is_loopback):
        raise OpenError(f"the proxy takes datagrams at {found}, which is not its address")
