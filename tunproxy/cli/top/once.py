"""One look at all flows, as lines of text: for who has no terminal that can be drawn on."""

import time
from pathlib import Path
from typing import Final

from tunproxy.cli.answers import in_words
from tunproxy.cli.top.cells import rate, width_of
from tunproxy.cli.top.columns import Moment
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.view import View
from tunproxy.control.client import watch_flows

ENOUGH: Final = 0.9  # of the time that rates are to be of


def look_twice(path: Path, seconds: float, flows: LiveFlows) -> None:
    """Have flows know what there is, with rates of about so many seconds. Raises TunproxyError.

    The second look comes when everybody's does, which may be at once: then the third has the rates.
    """
    looks = 0
    for told in watch_flows(path, seconds):
        looks += in_words(flows.take, told, path)
        if looks == 3 or (looks == 2 and flows.passed >= ENOUGH * seconds):
            return


def describe(view: View, limit: int, at: Moment | None = None) -> str:
    """Return what view shows, at most limit lines of it, under the columns' titles."""
    at = at or Moment(view.flows.look, time.time())
    columns = [column for column in view.columns if column.title != "lately"]
    items = view.items()
    rows = [[column.text(item, at) for column in columns] for item in items[:limit]]
    titles = [column.title for column in columns]
    widths = [max(map(width_of, texts)) for texts in zip(titles, *rows, strict=True)]
    lines = [
        "  ".join(
            f"{' ' * (width - width_of(text))}{text}" if column.is_right
            else f"{text}{' ' * (width - width_of(text))}"
            for text, width, column in zip(texts, widths, columns, strict=True)
        ).rstrip()
        for texts in (titles, *rows)
    ]  # fmt: skip
    shown = f"{len(rows):,} of {len(items):,} shown; " if len(rows) < len(items) else ""
    flows = view.flows
    down, up = (rate(each[-1]) if each else "-" for each in (flows.down, flows.up))
    return "\n".join([*(lines if rows else []), f"{shown}{flows.open:,} open, {down} down, {up} up"])
