"""Notes every flow: one line in the log, or one JSON object a line in a file."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tunproxy.plugin.api import Command, FlowClosed, FlowInfo, FlowOpened, hookimpl, log_fields

log = logging.getLogger("tunproxy.flows")


@dataclass(frozen=True)
class Options:
    """file is where to write, "" for the log; opened says whether beginnings are noted, not only ends."""

    file: str = ""
    opened: bool = False


@hookimpl
def contribute_options() -> type:
    """The fields of ``[plugins.log]``."""
    return Options


@hookimpl
def flow_opened(flows: Sequence[FlowOpened], options: Options) -> None:
    """Note flows that begin, if they are wanted."""
    if options.opened:
        _write(options, [_begun(flow) for flow in flows])


@hookimpl
def flow_closed(flows: Sequence[FlowClosed], options: Options) -> None:
    """Note flows that are over."""
    _write(options, [_over(flow) for flow in flows])


@hookimpl
def contribute_commands() -> list[Command]:
    """Contribute ``flow-totals``, which adds such a file up."""
    from .totals import app  # only the command line needs it

    return [Command("flow-totals", app)]


def _begun(flow: FlowOpened) -> dict[str, Any]:
    return {
        "event": "opened",
        "at": flow.at,
        **_ends(flow.number, flow.info),
        "upstream": flow.upstream,
        "verdict": flow.verdict,
        "why": flow.why,
    }


def _over(flow: FlowClosed) -> dict[str, Any]:
    return {
        "event": "closed",
        "at": flow.at,
        **_ends(flow.number, flow.info),
        "upstream": flow.upstream,
        "lasted": round(flow.lasted, 6),
        "up": flow.up,
        "down": flow.down,
        "reason": flow.reason,
    }


def _ends(number: int, info: FlowInfo) -> dict[str, Any]:
    return {"flow": number, "ends": str(info), "host": info.name}


def _write(options: Options, records: Iterable[dict[str, Any]]) -> None:
    if options.file:
        with open(options.file, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        return
    for record in records:
        name = f" ({record['host']})" if record["host"] else ""
        if record["event"] == "opened":
            text = f"opened by {record['upstream']}"
        else:
            size = f"{record['up']} up, {record['down']} down"
            text = f"{record['reason']} after {record['lasted']:.3f} s, {size}, by {record['upstream']}"
        fields = log_fields(flow=record["ends"], upstream=record["upstream"], rule=record.get("why"))
        log.info("flow %d %s%s: %s", record["flow"], record["ends"], name, text, extra=fields)
