"""Generations and their differences, as a person reads them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any as the document's JSON has it

from tunproxy.cli.status_text import printable

_COLOURS: Final = {"---": "1", "+++": "1", "@@ ": "36", "-": "31", "+": "32", "!": "33"}


def describe_generations(document: Mapping[str, Any]) -> str:
    """Return the generations, a line each, the newest last; * is what runs."""
    rows = [_row(each) for each in document["generations"]]
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(4)]
    lines = [
        "  ".join(
            [f"{row[0]:>{widths[0]}}", *(f"{row[at]:<{widths[at]}}" for at in (1, 2, 3)), row[4]]
        ).rstrip()
        for row in rows
    ]
    if document["broken"]:
        lines.append(f"damaged, and left out: {', '.join(map(str, document['broken']))}")
    if document["problem"]:
        lines.append(f"the one that runs is not kept: {document['problem']}")
    return "\n".join(map(_printable, lines)) or "none"


def describe_undone(document: Mapping[str, Any]) -> str:
    """Return what an undo did."""
    restores, number = document["restores"], document["generation"]
    if document["is_new"]:
        lines = [f"generation {restores} is in force again, as generation {number}"]
    else:
        lines = [f"generation {restores} {'runs, as before' if number else 'is what the next start finds'}"]
    lines += [f"put back: {path}" for path in document["written"]]
    lines += [f"moved away: {path}, which is {other} now" for path, other in document["moved"].items()]
    lines += document["notes"]
    if document["kept_as"]:
        kept = document["kept_as"]
        lines.append(f"what the files held is generation {kept} (tunproxy undo {kept} brings it back)")
    elif not document["written"] and not document["moved"]:
        lines.append("the files stay as they are")
    return "\n".join(map(_printable, lines))


def describe_pending(answer: Mapping[str, Any], seconds: int) -> str:
    """Return what becomes of a reload that somebody has to confirm within so many seconds."""
    back, number = answer.get("goes_back_to"), answer.get("generation")
    if back and back == number:
        return (
            f"generation {number} runs, as before; what is saved within {seconds} s is taken back then: "
            "tunproxy confirm lets it stay"
        )
    whither = f", and generation {back} runs again" if back else ""
    return f"it is taken back in {seconds} s{whither}: tunproxy confirm lets it stay"


def coloured(lines: Sequence[str], *, in_colour: bool) -> str:
    """Return the lines of a diff, in colour for a terminal (ECMA-48 SGR)."""
    return "\n".join(_coloured(line) if in_colour else line for line in map(_printable, lines))


def _coloured(line: str) -> str:
    for head, code in _COLOURS.items():
        if line.startswith(head):
            return f"\x1b[{code}m{line}\x1b[0m"
    return line


def _row(each: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["at"]))
    why = f": {each['why']}" if each["why"] else ""
    mark = "*" if each["is_running"] else " "
    return f"{mark}{each['number']}", when, str(each["by"]), str(each["state"]), f"{each['change']}{why}"


def _printable(line: str) -> str:
    return printable(line, but="\t")
