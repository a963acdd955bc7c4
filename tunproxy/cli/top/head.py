"""The lines above the list, as text: who is watched, how fast it goes, and what of it is shown."""

from typing import Final

from tunproxy.cli.status_text import counted
from tunproxy.cli.top.cells import drawing, fit, rate
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.view import KINDS, View

_RATE: Final = 10  # columns
NAMES: Final = dict(zip(KINDS, ("flows", "processes", "rules", "upstreams"), strict=True))


def first_line(name: str, trouble: str, view: View, place: int, count: int, width: int) -> str:
    """Return who is watched and what is shown; trouble says why nothing comes, "" where all is well."""
    where = f"{place:,}/{count:,}" if count else "none"
    left = f"tunproxy {name}  {counted(view.flows.open, 'flow')} open"
    if trouble:
        left = f"{trouble}; looking for it again"
    return fit(left, max(width - len(where) - 1, 0)) + f" {where}"


def rates_line(flows: LiveFlows, width: int) -> str:
    """Return how fast it goes, each way, now and lately."""
    half = width // 2
    parts = []
    for words, rates in (("down", flows.down), ("up", flows.up)):
        start = f"{words:<4} {rate(rates[-1]) if rates else '-':>{_RATE}} "
        parts.append(fit(start + drawing([*rates], max(half - len(start) - 1, 0)), half))
    return fit("".join(parts), width)


def view_line(view: View, width: int, *, is_paused: bool) -> str:
    """Return which view it is, and its filter and order."""
    kinds = " ".join(
        f"[{at} {NAMES[kind]}]" if kind == view.kind else f" {at} {NAMES[kind]} "
        for at, kind in enumerate(KINDS, 1)
    )
    order = f"by {view.sort.title} {'▼' if view.falls else '▲'}"
    parts = [kinds, order, "PAUSED" if is_paused else "", *view.within.values()]
    if view.text:
        parts.append(f"filter: {view.text}")
    return fit("  ".join(filter(None, parts)), width)
