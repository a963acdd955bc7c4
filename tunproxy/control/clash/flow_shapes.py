"""Flows as Clash shows them, and the ids that they have there.

An id is a UUID, as dashboards expect, with the worker's own mark and the flow's number in it (RFC 9562 §5.8):
nobody has to remember which is which, and a flow keeps its id as long as it lives.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final  # Any: documents

from tunproxy.control.clash.moments import written
from tunproxy.control.clash.proxy_shapes import clash_name
from tunproxy.control.clash.rule_shapes import payload_of, type_of
from tunproxy.upstream.group import ARROW

_VERSION: Final = 8
_NUMBER_MASK: Final = (1 << 62) - 1
_DNS_MODES: Final = {"dns": "mapping"}

Document = dict[str, Any]


def id_of(run: str, number: int) -> str:
    """Return the id of a flow; run is the mark of its worker, 12 hexadecimal digits."""
    high = int(run, 16) & 0xFFFF_FFFF_FFFF
    return str(uuid.UUID(int=high << 80 | _VERSION << 76 | 0b10 << 62 | number & _NUMBER_MASK))


def flow_of(text: str) -> tuple[str, int] | None:
    """Return run and number of the flow of an id; None for what is none of ours."""
    try:
        value = uuid.UUID(text).int
    except ValueError:
        return None
    if value >> 76 & 0xF != _VERSION or value >> 62 & 0b11 != 0b10 or value >> 64 & 0xFFF:
        return None
    return f"{value >> 80:012x}", value & _NUMBER_MASK


def connection_of(run: str, row: Mapping[str, Any]) -> Document:
    """Return a flow of a worker's ``FlowFeed``."""
    name = str(row["name"] or "")
    is_fake, process = row["is_fake"] is True, str(row["process"])
    rule, payload = _rule(row)
    return {
        "id": id_of(run, int(row["number"])),
        "metadata": {
            "network": str(row["protocol"]),
            "type": "Tun",
            "sourceIP": str(row["client"]),
            "destinationIP": "" if is_fake else str(row["target"]),
            "sourceGeoIP": None,
            "destinationGeoIP": None,
            "sourceIPASN": "",
            "destinationIPASN": "",
            "sourcePort": str(row["client_port"]),
            "destinationPort": str(row["target_port"]),
            "inboundIP": "",
            "inboundPort": "0",
            "inboundName": "DEFAULT-TUN",
            "inboundUser": "",
            "rematchName": "",
            "host": name,
            "dnsMode": "fake-ip" if is_fake else _DNS_MODES.get(str(row["name_from"]), "normal"),
            "uid": max(int(row["uid"]), 0),
            "process": process,
            "processPath": str(row["process_path"]),
            "specialProxy": "",
            "specialRules": "",
            "remoteDestination": "" if is_fake else str(row["target"]),
            "dscp": 0,
            "sniffHost": name if row["sniffed"] is True else "",
        },
        "upload": int(row["octets_up"]),
        "download": int(row["octets_down"]),
        "start": written(float(row["began"])),
        "chains": chain_of(str(row["chain"])),
        "providerChains": [""],
        "rule": rule,
        "rulePayload": payload,
    }


def chain_of(text: str) -> list[str]:
    """Return the way through groups, what carries the flow first."""
    return [clash_name(part) for part in reversed(text.split(ARROW))]


def log_line(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return level and text of what Clash would log of a flow."""
    rule, payload = _rule(row)
    process = f"({row['process']})" if row["process"] else ""
    client, target = str(row["client"]), str(row["name"] or row["target"])
    ends = f"{_literal(client)}:{row['client_port']}{process} --> {_literal(target)}:{row['target_port']}"
    matched = f"match {rule}({payload})" if payload else f"match {rule}" if rule else f"by {row['why']}"
    top, *rest = reversed(chain_of(str(row["chain"])))
    using = f"{top}[{rest[-1]}]" if rest else top
    text = f"[{str(row['protocol']).upper()}] {ends} {matched} using {using}"
    reason = str(row["reason"] or "")
    if reason.startswith(("not reached", "lost its target")):
        return "warning", f"{text} error: {reason}"
    return "info", text


def _rule(row: Mapping[str, Any]) -> tuple[str, str]:
    condition = row["condition"]
    if condition:
        return type_of(condition), payload_of(condition)
    return ("", "") if row["is_chosen"] is True else ("Match", "")


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host
