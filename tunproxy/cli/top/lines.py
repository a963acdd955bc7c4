"""The lines of the list, as text: titles, and an item in each line."""

import time
from typing import Final

from tunproxy.cli.top.cells import fit
from tunproxy.cli.top.columns import GAP, Column, Moment, layout
from tunproxy.cli.top.view import Item, View


class Lines:
    """Writes lines of view, each as wide as it is asked to be."""

    def __init__(self, view: View) -> None:
        self._view: Final = view
        self._layout: list[tuple[Column, int]] = []
        self._layout_of: tuple[str, int] | None = None

    def columns(self, width: int) -> list[tuple[Column, int]]:
        """Return the columns that there is room for, with their widths."""
        which = self._view.kind, width
        if which != self._layout_of:
            self._layout, self._layout_of = layout(self._view.columns, width), which
        return self._layout

    def column_at(self, x: int, width: int) -> Column | None:
        """Return the column that the place x is in; None for one behind the last."""
        end = 0
        for column, wide in self.columns(width):
            end += wide + GAP
            if x < end:
                return column
        return None

    def titles(self, width: int) -> str:
        """Return the titles; the one that sorts is marked."""
        sort, mark = self._view.sort, "▼" if self._view.falls else "▲"
        cells = (
            fit(f"{mark}{column.title}" if column is sort else column.title, wide, right=column.is_right)
            for column, wide in self.columns(width)
        )
        return fit((" " * GAP).join(cells), width)

    def line(self, item: Item, width: int) -> str:
        """Return an item, as it is now."""
        at = Moment(self._view.flows.look, time.time())
        cells = (
            fit(column.text(item, at), wide, right=column.is_right) for column, wide in self.columns(width)
        )
        return fit((" " * GAP).join(cells), width)
