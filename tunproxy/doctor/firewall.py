"""Whether this host's own firewall stops the packets of a connection: they are counted before and behind it.

    program ─▶ output ─ firewall ─ postrouting ─▶ device ─▶ whoever answers
            ◀─  input ─ firewall ─  prerouting ◀─ device ◀─

What has entered and does not come out was stopped in between, by nftables, iptables or whatever else uses the
kernel's hooks. A table of nftables of our own counts, for as long as the connection is tried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host import kill_switch, privileges
from tunproxy.host.nft import NftTable

OUTPUT: Final = "output"
INPUT: Final = "input"

_NAME: Final = "tunproxy_probe"
_OWN: Final = "tunproxy_"  # tables of ours, which stop nothing of a program's but for the kill switch
_MAX_TOLD: Final = 6  # our choice: chains that are named


class Checkpoints:
    """Counts packets of one port of this host, before and behind its firewall."""

    def __init__(self, table: NftTable | None) -> None:
        self._table: Final = table

    def stopped_at(self) -> str:
        """Return where packets were stopped, OUTPUT or INPUT; "" for nowhere, or where it cannot be said."""
        if self._table is None:
            return ""
        try:
            seen = self._table.counters()
        except SystemChangeError:
            return ""
        if seen.get("sent", 0) and not seen.get("left", 0):
            return OUTPUT
        if seen.get("came", 0) and not seen.get("taken", 0):
            return INPUT
        return ""

    def chains(self, hook: str) -> list[str]:
        """Return the chains that packets meet at a hook, as nft names them."""
        if self._table is None:
            return []
        try:
            found = self._table.chains_at(hook)
        except SystemChangeError:
            return []
        told = [each for each in found if not each.table.startswith(_OWN) or each.table == kill_switch.NAME]
        named = [f"{each.family} {each.table} {each.name} (policy {each.policy})" for each in told]
        return named[:_MAX_TOLD]


@contextmanager
def counting(port: int) -> Iterator[Checkpoints]:
    """Count what leaves from a TCP port of this host, and comes to it, where we may; never raises."""
    table: NftTable | None = None
    try:
        if privileges.has_capabilities(privileges.CAP_NET_ADMIN):  # the library would complain past us
            table = NftTable(_NAME)
            table.apply(content(port))
    except SystemChangeError:
        if table is not None:
            table.close()
        table = None
    try:
        yield Checkpoints(table)
    finally:
        if table is not None:
            table.close()


def content(port: int) -> str:
    """Return the table. Addresses and the other port may be translated in between, our port is not yet."""
    hooks = (
        ("sent", "output", "-450", "sport"),
        ("left", "postrouting", "99", "sport"),  # before sources are translated (srcnat, 100)
        ("came", "prerouting", "-450", "dport"),
        ("taken", "input", "500", "dport"),
    )
    return "\n".join(
        f"counter {name} {{}}\n"
        f"chain {name}_at {{\ntype filter hook {hook} priority {priority}; policy accept;\n"
        f"tcp {end} {port} counter name {name}\n}}"
        for name, hook, priority, end in hooks
    )
