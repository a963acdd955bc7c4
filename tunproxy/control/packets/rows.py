"""What is known of the flow of a packet by now, as a row, for the filter and for the words beside it."""

from ipaddress import ip_address
from typing import Any, Final  # Any: rows, as JSON has them

from tunproxy import clock
from tunproxy.control.flow_book import row_of
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.packets.keys import Ends
from tunproxy.decide.trace import DECIDED, trace_of
from tunproxy.flow.life import FlowLife
from tunproxy.wire.ip import ICMP, ICMPV6, TCP, UDP

PROTOCOLS: Final = {int(TCP): "tcp", int(UDP): "udp", int(ICMP): "icmp", int(ICMPV6): "icmp"}

_UNDECIDED: Final = ("name", "name_from", "verdict", "upstream", "chain", "rule", "why")

Row = dict[str, Any]


def row_by_now(life: FlowLife, owners: OwnerSearch | None) -> Row:
    """Return the row of a flow; what is not known yet is not in it. owners None knows nobody's."""
    row = row_of(life, int(clock.now()))
    trace = trace_of(life.info)
    if trace is not None and trace.state != DECIDED and life.ended_at < 0:
        for key in _UNDECIDED:
            del row[key]
    if life.info.protocol == "icmp":
        owners = None  # whose sockets nobody can tell
    owner = owners.owner(life) if owners is not None else None
    if owner is not None or owners is None or (life.ended_at >= 0 and not owners.is_searching(life)):
        row["process"] = owner.name or "" if owner is not None else ""
        row["process_path"] = owner.path or "" if owner is not None else ""
        row["uid"] = owner.uid if owner is not None else -1
    return row


def row_without_flow(ends: Ends) -> Row:
    """Return the row of packets that are of no flow: number 0, and nothing but their ends."""
    return {
        "number": 0,
        "state": "closed",
        "protocol": PROTOCOLS.get(ends.protocol, f"protocol {ends.protocol}"),
        "client": str(ip_address(ends.client)),
        "client_port": ends.client_port,
        "target": str(ip_address(ends.target)),
        "target_port": ends.target_port,
        "name": None,
        "name_from": None,
        "verdict": "",
        "upstream": "",
        "chain": "",
        "rule": None,
        "why": "",
        "process": "",
        "process_path": "",
        "uid": -1,
    }
