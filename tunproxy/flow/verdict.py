"""What is known of a flow when it begins, and what may be decided about it."""

import socket
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

DIAL: Final[i64] = 0  # the packet path dials an address by itself
OPEN: Final[i64] = 1  # a coroutine ends in a connected socket
REJECT: Final[i64] = 2  # refused at once: RST, or ICMP port unreachable
DROP: Final[i64] = 3  # no answer at all
KIND_NAMES: Final = ("dial", "open", "reject", "drop")


@final
@mypyc_attr(native_class=True, acyclic=True)
class FlowInfo:
    """A new flow: protocol ("tcp", "udp") and both ends; packed addresses of 4 or 16 octets."""

    def __init__(
        self, protocol: str, client: bytes, client_port: i64, target: bytes, target_port: i64
    ) -> None:
        self.protocol: Final = protocol
        self.client: Final = client
        self.client_port: Final = client_port
        self.target: Final = target
        self.target_port: Final = target_port

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return int(socket.AF_INET if len(self.target) == 4 else socket.AF_INET6)

    def __str__(self) -> str:
        client = socket.inet_ntop(self.family, self.client)
        target = socket.inet_ntop(self.family, self.target)
        shape = "{} [{}]:{} -> [{}]:{}" if len(self.target) == 16 else "{} {}:{} -> {}:{}"
        return shape.format(self.protocol, client, self.client_port, target, self.target_port)


@final
@mypyc_attr(native_class=True)
class Verdict:
    """Where a flow goes and why.

    kind is one of DIAL, OPEN, REJECT, DROP. With DIAL, address and port say what to dial instead of the
    target ("" and 0: the target itself). With OPEN, opener is what the Opener was told to use.
    """

    def __init__(
        self, kind: i64, upstream: str, address: str = "", port: i64 = 0, opener: object = None, why: str = ""
    ) -> None:
        self.kind: Final = kind
        self.upstream: Final = upstream
        self.address: Final = address
        self.port: Final = port
        self.opener: Final = opener
        self.why: Final = why

    def __str__(self) -> str:
        return f"{self.upstream} ({KIND_NAMES[self.kind]}{', ' + self.why if self.why else ''})"
