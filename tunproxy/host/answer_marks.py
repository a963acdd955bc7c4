"""What this host forwards as an answer leaves as it would without us, where forwarded traffic is captured.

A policy rule does not know who has begun a connection. To it, what a container's server says to a client of
the world is what a container sends into the world: it would go into the TUN, where nobody knows of such a
connection, and no published port could be reached. The kernel's table of connections knows; so a table of
nftables marks such packets before they are routed, and a policy rule leaves alone what has the mark:

    world ── SYN ──▶ container      goes on with ``main``, as its network is connected
    world ◀─ SYN, ACK ─ container   is an answer: marked, left alone
    container ── SYN ──▶ world      begins: captured

Packets with the very mark that somebody's policy rule asks for keep that, and are left alone for it. The
connection's own mark stays untouched: routers with several ways out restore a packet's mark from it.

The table vanishes with this process (``nft``).
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from tunproxy.host.changes import Change
from tunproxy.host.netlink import Netlink
from tunproxy.host.nft import NftTable
from tunproxy.host.rule_messages import ALL_BITS
from tunproxy.host.rules import ANSWER, LOOPBACK, WIREGUARD_MARK
from tunproxy.host.scope import Scope

NAME: Final = "tunproxy_answers"


class AnswerMarks(Change):
    """tun is our device, scope says what is captured of what is forwarded. One thread at a time."""

    what: ClassVar[str] = "marks of answers"

    def __init__(self, tun: str, scope: Scope) -> None:
        self._tun: Final = tun
        self._scope: Final = scope
        self._table: NftTable | None = None
        self._content = ""  # of the table, as we made it last

    def apply(self, net: Netlink) -> None:
        wanted = content(self._tun, self._scope, net.foreign_marks())
        if self._table is None:
            self._table = NftTable(NAME)
        if wanted != self._content:
            self._table.apply(wanted)
            self._content = wanted

    def mend(self, net: Netlink) -> bool:
        """Keep in step with the marks of others; nobody else can change the table."""
        self.apply(net)
        return False

    def revert(self, net: Netlink) -> None:
        self.close()

    def close(self) -> None:
        """Mark nothing any more. May be repeated."""
        if self._table is not None:
            self._table.close()
            self._table, self._content = None, ""


def content(tun: str, scope: Scope, marks: Iterable[tuple[int, int]]) -> str:
    """Return what the table holds; marks are those, with their masks, that rules of others ask for."""
    lines = [f'iifname {{ "{LOOPBACK}", "{tun}" }} return']
    if scope.interfaces:
        lines.append(f"iifname != {{ {_names(scope.interfaces)} }} return")
    if scope.excluded_interfaces:
        lines.append(f"iifname {{ {_names(scope.excluded_interfaces)} }} return")
    whole = sorted({mark for mark, mask in (WIREGUARD_MARK, *marks, *scope.marks) if mask == ALL_BITS})
    lines += [
        f"meta mark {{ {', '.join(map(hex, whole))} }} return",
        f"ct direction reply meta mark set meta mark or {ANSWER:#x}",
    ]
    rules = "\n".join(f"    {line}" for line in lines)
    return f"""
  chain arriving {{
    type filter hook prerouting priority mangle + 1; policy accept;
{rules}
  }}
"""


def _names(interfaces: Iterable[str]) -> str:
    return ", ".join(f'"{each}"' for each in interfaces)
