"""Flows put together: by process, by rule, by upstream."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.cli.top.flows import Flow, Owner

BY: Final = ("process", "rule", "upstream")  # as in an Owner


@dataclass(slots=True)
class Group:
    """The flows that have a name in common. up and down are octets, rates octets a second."""

    name: str
    open: int = 0
    over: int = 0
    up: int = 0
    down: int = 0
    rate_up: float = 0.0
    rate_down: float = 0.0


def grouped(
    flows: Iterable[Flow], by: str, before: Mapping[Owner, Sequence[int]] | None = None
) -> list[Group]:
    """Return the groups of flows by one of BY; before is what flows have carried that are over."""
    place = BY.index(by)
    found: dict[str, Group] = {}
    for flow in flows:
        name = flow.owner[place]
        group = found.get(name)
        if group is None:
            group = found[name] = Group(name)
        group.rate_up += flow.rate_up
        group.rate_down += flow.rate_down
        if not flow.is_over:
            group.open += 1
            group.up += flow.up
            group.down += flow.down
        elif before is None:
            group.over += 1
            group.up += flow.up
            group.down += flow.down
    for owner, (count, up, down) in (before or {}).items():
        group = found.setdefault(owner[place], Group(owner[place]))
        group.over += count
        group.up += up
        group.down += down
    return list(found.values())
