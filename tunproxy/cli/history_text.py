"""Flows that are over as a person reads them: a line for each, of 80 columns or more, and one in full."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final  # Any as the document's JSON has it

from tunproxy.cli.flows_text import target_text
from tunproxy.cli.status_text import counted, duration, printable, size
from tunproxy.cli.top.cells import CUT, fit, width_of
from tunproxy.decide.words import describe_record

_HEAD: Final = ("id", "ended", "program", "target", "through", "octets", "end")
_WIDTHS: Final = (6, 11, 9, 24, 10, 7, 7)  # with blanks between, 80 columns
_MORE: Final = (0, 0, 6, 18, 18, 0, 0)  # in a wider terminal; the end of a line has what is left
_LEAST: Final = 80
_RIGHT: Final = (True, False, False, False, False, True, False)
_ENDS: Final = {"closed: idle": "idle", "reset by client": "reset", "reset by target": "reset"}


def describe_history(
    entries: Iterable[Mapping[str, Any]], count: int, columns: int = _LEAST
) -> Iterator[str]:
    """Yield a line for each entry; count is how many there are, shown or not.

    What does not fit into columns is cut. With 0, for what is no terminal, nothing is.
    """
    widths = _widths(columns)
    shown = 0
    for entry in entries:
        if not shown:
            yield _line(_HEAD, widths, is_cut=True)
        shown += 1
        yield _line([printable(cell) for cell in _row(entry)], widths, is_cut=columns > 0)
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


def _widths(columns: int) -> list[int]:
    """Return how wide each column is where a line has so many, or as many as it wants."""
    left = columns - _LEAST if columns > 0 else sum(_MORE)
    widths = []
    for width, more in zip(_WIDTHS, _MORE, strict=True):
        taken = max(min(more, left * more // sum(_MORE)), 0)
        widths.append(width + taken)
    widths[-1] = max(columns - sum(widths[:-1]) - len(widths) + 1, _WIDTHS[-1])
    return widths


def _line(cells: Sequence[str], widths: Sequence[int], *, is_cut: bool) -> str:
    """Return cells in their columns."""
    parts = []
    for at, (cell, width, right) in enumerate(zip(cells, widths, _RIGHT, strict=True)):
        whole = cell if not is_cut else _without_middle(cell, width) if at == 3 else cell
        parts.append(fit(whole, width if is_cut else max(width, width_of(whole)), right=right))
    return " ".join(parts).rstrip()


def _without_middle(text: str, width: int) -> str:
    """Return a target in width columns: its port and the end of its name say most."""
    if width_of(text) <= width:
        return text
    protocol, _, place = text.partition(" ")
    room = width - len(protocol) - 2
    while width_of(place) > room:
        place = place[1:]
    return f"{protocol} {CUT}{place}"


def _moment(seconds: float, form: str) -> str:
    return time.strftime(form, time.localtime(seconds))
