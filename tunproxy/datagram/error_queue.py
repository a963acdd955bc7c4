"""What a socket's error queue tells: ICMP errors that came for it, and sends that the host refused.

struct sock_extended_err    0 errno  4 origin  5 type  6 code  7 pad  8 info  12 data
                            16 sockaddr of who reported it
"""

import errno
import socket
from typing import Final, final

from librt.strings import read_i32_le
from mypy_extensions import i64, mypyc_attr

from tunproxy.wire.bits import u16_le

LOCAL: Final[i64] = 1  # SO_EE_ORIGIN_LOCAL: the host itself, before the packet left
FROM_ICMP: Final[i64] = 2
FROM_ICMP6: Final[i64] = 3

_EMSGSIZE: Final[i64] = errno.EMSGSIZE
_SOL_SOCKET: Final = int(socket.SOL_SOCKET)
_SO_ERROR: Final = int(socket.SO_ERROR)
_MSG_ERRQUEUE: Final = int(socket.MSG_ERRQUEUE)
_IPPROTO_IP: Final = int(socket.IPPROTO_IP)
_IPPROTO_IPV6: Final = int(socket.IPPROTO_IPV6)
_IP_RECVERR: Final = 11  # linux/in.h, linux/in6.h
_IPV6_RECVERR: Final = 25
_INET: Final[i64] = int(socket.AF_INET)
_INET6: Final[i64] = int(socket.AF_INET6)
_QUOTE_LEN: Final = 1280  # the kernel quotes no more in any error that we could pass on
_CONTROL_LEN: Final = 256


@final
@mypyc_attr(native_class=True)
class QueuedError:
    """One report. host and port are where the packet in question went, payload what is known of it.

    info is the path's MTU for errors about size; reporter the packed address of who sent the ICMP, or b"".
    """

    def __init__(self, error: bytes, host: str, port: i64, payload: bytes) -> None:
        self.errno: Final[i64] = i64(read_i32_le(error, 0))
        self.origin: Final[i64] = i64(error[4])
        self.kind: Final[i64] = i64(error[5])
        self.code: Final[i64] = i64(error[6])
        self.info: Final[i64] = i64(read_i32_le(error, 8)) & 0xFFFF_FFFF
        self.reporter: Final[bytes] = _reporter(error)
        self.host: Final = host
        self.port: Final = port
        self.payload: Final = payload


def read_error(sock: socket.socket) -> QueuedError | None:
    """Return the oldest report in sock's error queue; None when it is empty."""
    try:
        payload, control, _, address = sock.recvmsg(_QUOTE_LEN, _CONTROL_LEN, _MSG_ERRQUEUE)
    except OSError:  # BlockingIOError, or a pending error that goes with this call
        return None
    for level, kind, data in control:
        if (level == _IPPROTO_IP and kind == _IP_RECVERR) or (
            level == _IPPROTO_IPV6 and kind == _IPV6_RECVERR
        ):
            if len(data) >= 16:
                if address:
                    return QueuedError(data, address[0], address[1], payload)
                return QueuedError(data, "", 0, payload)
    return None


def take_errors(sock: socket.socket, most: i64) -> tuple[list[QueuedError], i64]:
    """Empty sock's error queue, most reports at most.

    Returns the reports that came over the network, oldest first, and the path MTU that the host itself
    reported, 0 for none.
    """
    found: list[QueuedError] = []
    mtu: i64 = 0
    for count in range(most):
        queued = read_error(sock)
        if queued is None:
            if count == 0:  # an error that found no room in the queue would be reported for ever
                sock.getsockopt(_SOL_SOCKET, _SO_ERROR)
            break
        if queued.origin != LOCAL:
            found.append(queued)
        elif queued.errno == _EMSGSIZE:
            mtu = queued.info
    return found, mtu


def _reporter(error: bytes) -> bytes:
    if len(error) < 18:
        return b""
    family = u16_le(error, 16)
    if family == _INET and len(error) >= 24:
        return error[20:24]
    if family == _INET6 and len(error) >= 40:
        return error[24:40]
    return b""
