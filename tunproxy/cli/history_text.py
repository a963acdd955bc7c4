"""Flows that are over as a person reads them: a line of 80 columns for each, and one in full."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final  # Any as the document's JSON has it

from tunproxy.cli.flows_text import target_text
from tunproxy.cli.status_text import counted, duration, printable, size
from tunproxy.decide.words import describe_record

_HEAD: Final = ("id", "ended", "program", "target", "through", "octets", "end")
_WIDTHS: Final = (6, 11, 9, 24, 10, 7, 7)  # with blanks between, 80 columns
_RIGHT: Final = (True, False, False, False, False, True, False)
_ENDS: Final = {"closed: idle": "idle", "reset by client": "reset", "reset by target": "reset"}


def describe_history(entries: Iterable[Mapping[str, Any]], count: int) -> Iterator[str]:
    """Yield a line for each entry; count is how many there are, shown or not."""
    shown = 0
    for entry in entries:
        if not shown:
            yield _line(_HEAD)
        shown += 1
        yield printable(_line(_row(entry)))
    if not count:
        yield "no flow was recorded that is meant"
    elif shown < count:
        yield f"{shown:,} of {counted(count, 'flow')} (--limit 0 shows all)"
    else:
        yield counted(count, "flow")


def describe_gaps(missed: int, reasons: Sequence[str]) -> str:
    """Return what is said of flows that are missing."""
    were = "was" if missed == 1 else "were"
    return f"{counted(missed, 'flow')} more {were} not recorded: {', '.join(reasons)}"


def describe_entry(entry: Mapping[str, Any]) -> str:
    """Return one flow in full: why it went where it went."""
    lines = []
    record = entry.get("why")
    if record:
        lines.append(describe_record(record))
    else:
        lines.append(printable(f"{target_text(entry)} went through {entry['chain']}: {_because(entry)}"))
        lines.append(f"{'closed':<11}{printable(entry['reason'])} after {duration(entry['seconds'])}")
        lines.append(f"{'octets':<11}{entry['up']} up, {entry['down']} down")
    process = entry.get("process") or {}
    if process.get("name") and not (record and (record["inputs"]["process"] or {}).get("name")):
        lines.append(printable(f"{'program':<11}{process['name']} ({process.get('path') or 'path unknown'})"))
    lines.append(f"{'ended':<11}{_moment(entry['ended'], '%Y-%m-%d %H:%M:%S')}")
    return "\n".join(lines)


def _because(entry: Mapping[str, Any]) -> str:
    if entry["rule"]:
        return f"rule {entry['rule']} ({entry['place']})"
    return f"decided by {entry['decided_by']}"


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    process = entry.get("process") or {}
    reason = str(entry["reason"])
    return (
        str(entry["id"]),
        _moment(entry["ended"], "%m-%d %H:%M"),
        process.get("name") or "-",
        target_text(entry),
        str(entry["chain"]),
        size(entry["up"] + entry["down"]),
        _ENDS.get(reason, reason),
    )


def _line(cells: Sequence[str]) -> str:
    """Return cells in their columns; the last one may be as long as it is where the line has room."""
    parts = []
    for at, (cell, width, right) in enumerate(zip(cells, _WIDTHS, _RIGHT, strict=True)):
        cut = _cut(cell, width, keeps_end=at == 3)
        parts.append(cut.rjust(width) if right else cut.ljust(width))
    return " ".join(parts).rstrip()


def _cut(text: str, width: int, *, keeps_end: bool) -> str:
    """Return text in width letters; of a target its port and the end of its name say most."""
    if len(text) <= width:
        return text
    if not keeps_end:
        return f"{text[: width - 1]}…"
    protocol, _, place = text.partition(" ")
    room = width - len(protocol) - 2
    return f"{protocol} …{place[-room:]}"


def _moment(seconds: float, form: str) -> str:
    return time.strftime(form, time.localtime(seconds))
