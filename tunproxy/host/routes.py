"""Routes into our TUN link, in a routing table of our own.

Nothing is ever put into the table ``main``. When the link vanishes, the kernel removes these routes with
it; the table is empty then, and a lookup in an empty table goes on with the next policy rule.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from tunproxy.host.addresses import Network
from tunproxy.host.changes import Change
from tunproxy.host.netlink import Netlink

# our choices: far from the numbers that other programs use
TABLE: Final = 7777
LANE_TABLE: Final = 7778  # where there are exceptions from what is captured (``lane``)


@dataclass(frozen=True)
class Route(Change):
    """Packets for prefix go into the link, for whoever looks into table."""

    what: ClassVar[str] = "a route"
    prefix: Network
    name: str
    table: int

    def apply(self, net: Netlink) -> None:
        net.add_route(self.prefix, self.name, self.table)

    def mend(self, net: Netlink) -> bool:
        if net.has_route(self.prefix, self.name, self.table):
            return False
        self.apply(net)
        return True

    def revert(self, net: Netlink) -> None:
        net.delete_route(self.prefix, self.name, self.table)
