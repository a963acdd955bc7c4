"""The kernel-direct lane: prefixes that are left out of its table, so that their packets never come to us.

They are routes of type ``throw``: a look-up that meets one goes on with the next policy rule, as if the table
had nothing. They belong to no device and stay when we are killed; in a table that is empty otherwise they do
nothing. The next start and ``tunproxy rescue`` remove them.
"""

from dataclasses import dataclass
from typing import ClassVar

from tunproxy.host.addresses import Network
from tunproxy.host.changes import Change
from tunproxy.host.exceptions import ExceptionTable
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import LANE_TABLE


@dataclass(frozen=True)
class Lane(Change):
    """Exactly these prefixes go past us."""

    what: ClassVar[str] = "the kernel-direct lane"
    prefixes: frozenset[Network] = frozenset()

    def apply(self, net: Netlink) -> None:
        with ExceptionTable(LANE_TABLE) as table:
            there = table.prefixes()
            table.change(there - self.prefixes, self.prefixes - there)

    def revert(self, net: Netlink) -> None:
        clear_lane()


def clear_lane() -> int:
    """Remove every exception of ours; return how many there were. Raises SystemChangeError."""
    with ExceptionTable(LANE_TABLE) as table:
        there = table.prefixes()
        table.change(there, ())
    return len(there)
