"""What is known of a flow when it begins, and what may be decided about it."""

import socket
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

DIAL: Final[i64] = 0  # the packet path dials an address by itself
OPEN: Final[i64] = 1  # a coroutine ends in a connected socket
REJECT: Final[i64] = 2  # refused at once: RST, or ICMP port unreachable
DROP: Final[i64] = 3  # no answer at all
CONVERSE: Final[i64] = 4  # the packet path dials a proxy and holds a conversation with it
SNIFF: Final[i64] = 5  # not decided: ask again with the client's first octets (``Decider.decide_sniffed``)
KIND_NAMES: Final = ("dial", "open", "reject", "drop", "converse", "sniff")


@final
@mypyc_attr(native_class=True, acyclic=True)
class FlowInfo:
    """A new flow: protocol ("tcp", "udp", "icmp") and both ends; packed addresses of 4 or 16 octets.

    host is the name to go to instead of the target, which then stands for that name and is nowhere; "" where
    the target is to be reached. name is the name that the client means, as far as anybody has looked it up,
    and name_from says whence it is: "dns", "fake-ip", "sniffed", "given". That is for rules and people, as it
    may be a guess. The decider fills in these three; trace is its own, and must not refer to us.
    """

    def __init__(
        self, protocol: str, client: bytes, client_port: i64, target: bytes, target_port: i64, host: str = ""
    ) -> None:
        self.protocol: Final = protocol
        self.client: Final = client
        self.client_port: Final = client_port
        self.target: Final = target
        self.target_port: Final = target_port
        self.host: str = host
        self.name: str = host
        self.name_from: str = "given" if host else ""
        self.trace: object = None

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

    kind is one of DIAL, OPEN, REJECT, DROP, CONVERSE, SNIFF. With DIAL, address and port say what to dial
    instead of the target ("" and 0: the target itself). With OPEN, opener is what the Opener was told to use.
    With CONVERSE, address and port are the proxy's, and opener knows the conversation (see ``Converser``).
    chain is the way through groups to upstream, "work → node-3", "" where there is none.
    """

    def __init__(
        self,
        kind: i64,
        upstream: str,
        address: str = "",
        port: i64 = 0,
        opener: object = None,
        why: str = "",
        chain: str = "",
    ) -> None:
        self.kind: Final = kind
        self.upstream: Final = upstream
        self.address: Final = address
        self.port: Final = port
        self.opener: Final = opener
        self.why: Final = why
        self.chain: Final = chain

    def __str__(self) -> str:
        return f"{self.chain or self.upstream} ({KIND_NAMES[self.kind]}{', ' + self.why if self.why else ''})"
