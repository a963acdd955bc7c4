"""What is shown of flows and of groups, column by column, and which columns there is room for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final  # Any: what can be sorted

from tunproxy.cli.status_text import size
from tunproxy.cli.top.cells import age, drawing, rate
from tunproxy.cli.top.flows import KEPT_OF_FLOW, Flow
from tunproxy.cli.top.groups import Group

GAP: Final = 1  # between two columns
_DRAWN: Final = 12  # rates of a flow


@dataclass(frozen=True)
class Moment:
    """When something is shown: the number of the look, and seconds since 1970."""

    look: int = 0
    wall: float = 0.0


@dataclass(frozen=True)
class Column:
    """text is of an item, which key sorts. Columns of a low rank are left out last; room that is left over
    is shared by those that stretch."""

    title: str
    width: int
    rank: int
    text: Callable[[Any, Moment], str]
    key: Callable[[Any], Any]
    is_right: bool = False
    stretch: int = 0
    falls: bool = False  # the largest first, unless somebody turns it round


def _state(flow: Flow, at: Moment) -> str:
    return flow.reason if flow.is_over and flow.reason else flow.state


def _rate_down(item: Flow | Group, at: Moment) -> str:
    """Return the rate; of a flow that is over, why, as there may be no room for its state."""
    if isinstance(item, Flow) and item.is_over:
        return item.reason or item.state
    return rate(item.rate_down)


def _age(flow: Flow, at: Moment) -> str:
    return age(flow.seconds if flow.is_over else at.wall - flow.began)


def _drawn(flow: Flow, at: Moment) -> str:
    return drawing(flow.rates(at.look, min(_DRAWN, KEPT_OF_FLOW)), _DRAWN)


def _number(flow: Flow) -> int:
    return flow.number


def _total(item: Flow | Group) -> float:
    return item.rate_up + item.rate_down


_RATES: Final = (
    Column(
        "down/s", 9, 1, _rate_down, lambda item: item.rate_down,
        is_right=True, falls=True,
    ),
    Column(
        "up/s", 9, 2, lambda item, at: rate(item.rate_up), lambda item: item.rate_up,
        is_right=True, falls=True,
    ),
)  # fmt: skip
_OCTETS: Final = (
    Column("down", 8, 7, lambda item, at: size(item.down), lambda item: item.down, is_right=True, falls=True),
    Column("up", 8, 8, lambda item, at: size(item.up), lambda item: item.up, is_right=True, falls=True),
)

OF_FLOWS: Final = (
    Column("flow", 6, 3, lambda flow, at: str(flow.number), _number, is_right=True, falls=True),
    Column("age", 5, 5, _age, lambda flow: -flow.began, is_right=True),
    Column("state", 8, 9, _state, lambda flow: (flow.is_over, flow.state, flow.reason), stretch=1),
    Column("process", 11, 2, lambda flow, at: flow.process, lambda flow: flow.process.lower(), stretch=1),
    Column("target", 22, 0, lambda flow, at: flow.target, lambda flow: flow.target.lower(), stretch=3),
    Column("upstream", 13, 4, lambda flow, at: flow.upstream, lambda flow: flow.upstream.lower(), stretch=1),
    *_RATES,
    *_OCTETS,
    Column("rule", 17, 6, lambda flow, at: flow.rule, lambda flow: flow.rule.lower(), stretch=2),
    Column("lately", _DRAWN, 10, _drawn, _total, falls=True),
)


def of_groups(title: str) -> tuple[Column, ...]:
    """Return the columns of groups that are called by title."""
    return (
        Column(title, 24, 0, lambda group, at: group.name, lambda group: group.name.lower(), stretch=1),
        Column(
            "open", 6, 3, lambda group, at: f"{group.open:,}", lambda group: group.open,
            is_right=True, falls=True,
        ),
        Column(
            "over", 6, 5, lambda group, at: f"{group.over:,}", lambda group: group.over,
            is_right=True, falls=True,
        ),
        *_RATES,
        *_OCTETS,
    )  # fmt: skip


def layout(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """Return the columns that fit into width, with their widths, in their order; one there always is."""
    chosen = sorted(columns, key=lambda column: column.rank)
    while len(chosen) > 1 and sum(each.width + GAP for each in chosen) - GAP > width:
        chosen.pop()
    rest = width - sum(each.width + GAP for each in chosen) + GAP
    shares = sum(each.stretch for each in chosen)
    found = []
    for column in columns:
        if column not in chosen:
            continue
        more = rest * column.stretch // shares if rest > 0 and shares else 0
        rest, shares = rest - more, shares - column.stretch
        found.append((column, column.width + more if rest >= 0 or len(chosen) > 1 else max(width, 1)))
    return found
