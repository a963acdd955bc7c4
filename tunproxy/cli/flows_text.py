"""A list of flows as a person reads it: a line for each, and where it goes, and why."""

from collections.abc import Mapping
from typing import Any  # Any as the document's JSON has it

from tunproxy.cli.status_text import duration, printable, size
from tunproxy.cli.top.cells import fit, width_of

_HEAD = ("flow", "age", "state", "target", "through", "up", "down", "why")
_RIGHT = (True, True, False, False, False, True, True, False)


def describe_flows(document: Mapping[str, Any]) -> str:
    """Return the document in lines, the newest flow last; lines are as long as they are."""
    flows = document["flows"]
    rows = [_HEAD, *(_row(flow) for flow in reversed(flows))]
    widths = [max(width_of(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            fit(cell, width, right=right) for cell, width, right in zip(row, widths, _RIGHT, strict=True)
        ).rstrip()
        for row in rows
    ]
    counts = f"{document['open']:,} open, {document['begun']:,} in all"
    return "\n".join(map(printable, [*lines, counts] if flows else [f"no flow to show: {counts}"]))


def describe_flow(flow: Mapping[str, Any]) -> str:
    """Return a line of a list that goes on: what happened, to whom, and of which program."""
    number, _, state, target, chain, up, down, why = _row(flow)
    process = flow.get("process")
    parts = [target, *([f"({process})"] if process else []), f"through {chain}"]
    if flow["state"] == "closed":
        parts += [f"after {duration(flow['seconds'])},", f"{up} up,", f"{down} down,"]
    return printable(f"{number:>6}  {state:<8}  {' '.join([*parts, why])}")


def _row(flow: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(flow["number"]),
        duration(flow["age_seconds"]),
        flow["reason"] or flow["state"],
        target_text(flow),
        flow["chain"],
        size(flow["octets_up"]),
        size(flow["octets_down"]),
        flow["rule"] or flow["why"],
    )


def target_text(flow: Mapping[str, Any]) -> str:
    """Return where a flow goes: by name, where there is one."""
    place = flow["name"] or flow["target"]
    if flow["protocol"] == "icmp":
        return f"icmp {place}"
    end = f"[{place}]:{flow['target_port']}" if ":" in place else f"{place}:{flow['target_port']}"
    return f"{flow['protocol']} {end}"
