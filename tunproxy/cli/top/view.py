"""What of the flows is shown, and in which order: whatever draws it asks here."""

from collections.abc import Sequence
from typing import Final

from tunproxy.cli.top.columns import OF_FLOWS, Column, of_groups
from tunproxy.cli.top.flows import Flow, LiveFlows
from tunproxy.cli.top.groups import BY, Group, grouped
from tunproxy.control.flow_filter import parse_filter

FLOWS: Final = "flow"
KINDS: Final = (FLOWS, *BY)
USUAL_SORT: Final = "down/s"

Item = Flow | Group


class View:
    """Shows flows, or one line for each process, rule or upstream; sort is a column's title.

    text is the filter as it was written. within says in which groups all of it is, by kind.
    """

    def __init__(self, flows: LiveFlows, *, kind: str = FLOWS, text: str = "", sort: str = "") -> None:
        """Raises KeyError for a kind that there is not, or that has no such column; ConfigError for a filter
        that is none.
        """
        self.flows: Final = flows
        self._columns: Final = {FLOWS: OF_FLOWS, **{by: of_groups(by) for by in BY}}
        self.kind = kind
        self.text = ""
        self.within: Final[dict[str, str]] = {}
        self._filter = parse_filter("")
        self.look_for(text)
        self._sorts: Final = dict.fromkeys(KINDS, USUAL_SORT)
        self._is_turned = False
        if sort:
            self.sort_by(sort)

    @property
    def columns(self) -> tuple[Column, ...]:
        """All that there are, whether there is room for them or not."""
        return self._columns[self.kind]

    @property
    def sort(self) -> Column:
        """The column that sorts."""
        title = self._sorts[self.kind]
        return next(column for column in self.columns if column.title == title)

    @property
    def falls(self) -> bool:
        """Whether the largest comes first."""
        return self.sort.falls is not self._is_turned

    def show(self, kind: str) -> None:
        """Show another kind of items."""
        if kind not in KINDS:
            raise KeyError(kind)
        self.kind = kind
        self._is_turned = False

    def sort_by(self, title: str) -> None:
        """Sort by a column; the one that sorts already is turned round."""
        if title not in {column.title for column in self.columns}:
            raise KeyError(title)
        self._is_turned = not self._is_turned if title == self._sorts[self.kind] else False
        self._sorts[self.kind] = title

    def turn(self) -> None:
        """Sort the other way round."""
        self._is_turned = not self._is_turned

    @property
    def is_narrow(self) -> bool:
        """Whether not all flows are shown."""
        return bool(self.text or self.within)

    def look_for(self, text: str) -> None:
        """Show what a filter lets through (``control.flow_filter``); raises ConfigError for a wrong one."""
        words = " ".join(text.split())
        if words != self.text:
            self._filter = parse_filter(words)
            self.text = words

    def widen(self) -> None:
        """Show all flows."""
        self.within.clear()
        self.look_for("")

    def found(self) -> list[Flow]:
        """Return the flows that are to be shown or put into groups, the newest first."""
        flows = list(self.flows.flows())
        for kind, name in self.within.items():
            place = BY.index(kind)
            flows = [flow for flow in flows if flow.owner[place] == name]
        return [flow for flow in flows if flow.fits(self._filter)] if self.text else flows

    def items(self) -> Sequence[Item]:
        """Return what is to be shown, in order; of flows that are equal, the newest first."""
        items: list[Flow] | list[Group]
        if self.kind == FLOWS:
            items = self.found()
        else:
            before = None if self.is_narrow else self.flows.before
            items = grouped(self.found(), self.kind, before)
            items.sort(key=lambda group: group.name)  # so that what is equal stays where it is
        items.sort(key=self.sort.key, reverse=self.falls)
        return items

    def flows_of(self, item: Item) -> list[Flow]:
        """Return the flows of an item that are not over."""
        if isinstance(item, Flow):
            return [] if item.is_over else [item]
        place = BY.index(self.kind)
        return [flow for flow in self.found() if not flow.is_over and flow.owner[place] == item.name]

    def enter(self, group: Group) -> None:
        """Show the flows of a group, and nothing else."""
        self.within[self.kind] = group.name
        self.show(FLOWS)


def key_of(item: Item) -> str | int:
    """Return what tells an item apart from the others, whatever changes of it."""
    return item.number if isinstance(item, Flow) else item.name
