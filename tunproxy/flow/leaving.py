"""When this host changes its place in the network: which sockets that leaves without a way.

A socket keeps the address that it was connected from. When that is this host's no more, nothing that is sent
to it comes here, and nobody says so: both sides would wait for their time-outs. The same goes for a socket
that is bound to an interface that is gone, even where another one has its name now.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tunproxy.flow.ending import drop, evict
from tunproxy.flow.life import WAY_GONE
from tunproxy.flow.watching import note_reason

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow

_SOL_SOCKET: Final = int(socket.SOL_SOCKET)
_SO_BINDTODEVICE: Final = int(socket.SO_BINDTODEVICE)
_NAME_SIZE: Final = 16  # linux/if.h: IFNAMSIZ
_NONE: Final = ("0.0.0.0", "::")


def has_no_way(sock: socket.socket, is_here: Callable[[str], bool]) -> bool:
    """Tell whether sock has an address that is not here, or an interface that is gone; never raises."""
    try:
        name = sock.getsockname()
        sock.getsockopt(_SOL_SOCKET, _SO_BINDTODEVICE, _NAME_SIZE)
    except OSError:  # ENODEV for the interface
        return True
    if not isinstance(name, tuple):  # a Unix socket
        return False
    address = str(name[0]).partition("%")[0]
    return address not in _NONE and not is_here(address)


def cut_off(flow: "TcpFlow", is_here: Callable[[str], bool]) -> bool:
    """Reset a flow whose socket has no way; return whether that was so.

    A client that has heard nothing yet still hears nothing: it asks again, and is sent the new way. That is
    also so where somebody else is opening the way, which may well be the old one.
    """
    sock = flow.sock
    if flow.is_embryo and not flow.is_open:
        if sock is None or has_no_way(sock, is_here):
            note_reason(flow, WAY_GONE)
            evict(flow)
            return True
        return False
    if sock is None or not has_no_way(sock, is_here):
        return False
    note_reason(flow, WAY_GONE)
    drop(flow)
    return True
