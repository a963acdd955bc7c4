"""What stands beside a packet: whose flow it is, where it goes and why; and how it ended. A line each."""

from collections.abc import Mapping
from typing import Any  # rows, as JSON has them


def beginning(row: Mapping[str, Any]) -> str:
    """Return what is known of a flow, by its row (``flow_filter``); what is not there is not said."""
    if not row["number"]:
        return f"no flow: {_where(row)}"
    parts = [f"flow {row['number']}: {_where(row)}"]
    process = _process(row)
    if process:
        parts.append(process)
    if "verdict" in row:
        parts.append(f"verdict {row['verdict']}, through {row['chain']}")
        parts.append(
            f"rule {row['rule']}" if row["rule"] else f"why: {row['why']}" if row["why"] else "no rule"
        )
    else:
        parts.append("not decided yet")
    return "; ".join(parts)


def end(row: Mapping[str, Any]) -> str:
    """Return how a flow ended."""
    return (
        f"flow {row['number']} is over: {row['reason']}; {row['octets_up']:,} octets up, "
        f"{row['octets_down']:,} down, in {row['seconds']:g} s"
    )


def _where(row: Mapping[str, Any]) -> str:
    target = _end(row["target"], row["target_port"])
    client = _end(row["client"], row["client_port"])
    name = row.get("name")
    means = (
        f" ({name}, by {row['name_from']})" if name and row.get("name_from") else f" ({name})" if name else ""
    )
    return f"{row['protocol']} {client} to {target}{means}"


def _process(row: Mapping[str, Any]) -> str:
    if "process" not in row:
        return ""
    name, path, uid = row["process"], row["process_path"], row["uid"]
    who = f"process {name or path}" if name or path else ""
    more = [path] if path and path != name and name else []
    more += [f"user {uid}"] if uid >= 0 else []
    return f"{who} ({', '.join(more)})" if who and more else who or ", ".join(more) or "process unknown"


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
