"""A list of which only the lines that can be seen are made: however long it is, drawing costs the same."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

T = TypeVar("T")

_CURSOR: Final = Style(reverse=True)
_FAINT: Final = Style(dim=True)
_TITLES: Final = Style(bold=True, underline=True)


class Table(ScrollView, Generic[T], can_focus=True):
    """Shows items as lines below a line of titles; the cursor stays with its item, wherever that moves.

    At the top it stays at the top, unless holds is set.
    """

    DEFAULT_CSS = """
    Table { overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.leave", show=False),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "first", "First", show=False),
        Binding("end,G", "last", "Last", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

    class Moved(Message):
        """The cursor is on another item."""

    class Chosen(Message):
        """Enter was pressed, or an item clicked at twice."""

    class TitleClicked(Message):
        """A click at the titles; x is in columns of the table."""

        def __init__(self, x: int) -> None:
            super().__init__()
            self.x: Final = x

    def __init__(
        self,
        titles: Callable[[int], str],
        line: Callable[[T, int], str],
        key: Callable[[T], object],
        is_faint: Callable[[T], bool],
    ) -> None:
        """titles and line return text of a width; key tells items apart."""
        super().__init__()
        self._titles: Final = titles
        self._line: Final = line
        self._key: Final = key
        self._is_faint: Final = is_faint
        self._items: Sequence[T] = ()
        self._at = 0
        self.holds = False
        self.drawn = 0  # lines that were made, so that a test can tell

    @property
    def current(self) -> T | None:
        """The item that the cursor is on, None where there is none."""
        return self._items[self._at] if self._items else None

    @property
    def place(self) -> int:
        """The cursor's line, the first one being 1; 0 where there is none."""
        return self._at + 1 if self._items else 0

    @property
    def count(self) -> int:
        """How many items there are."""
        return len(self._items)

    @property
    def width(self) -> int:
        """How many columns there are beside the scrollbar."""
        return self.scrollable_content_region.width

    @property
    def room(self) -> int:
        """How many items can be seen at a time."""
        return max(self.size.height - 1, 1)

    def show(self, items: Sequence[T]) -> None:
        """Show these items instead of those that were shown."""
        before, place = self.current, self._at
        self._items = items
        self._at = min(place, max(len(items) - 1, 0))
        if before is not None and (place > 0 or self.holds):
            wanted = self._key(before)
            self._at = next((at for at, each in enumerate(items) if self._key(each) == wanted), self._at)
        self.virtual_size = Size(self.width, len(items) + 1)
        if self._at != place:
            self._see()
        self.refresh()
        now = self.current
        if (before is None) is not (now is None) or (
            before is not None and now is not None and self._key(before) != self._key(now)
        ):
            self.post_message(self.Moved())

    def render_line(self, y: int) -> Strip:
        """Return one line of what can be seen; the titles stay at the top."""
        width, base = self.width, self.rich_style
        if y == 0:
            return Strip([Segment(self._titles(width), base + _TITLES)], width)
        at = y - 1 + self.scroll_offset.y
        if at >= len(self._items):
            return Strip.blank(width, base)
        self.drawn += 1
        item = self._items[at]
        style = base + _FAINT if self._is_faint(item) else base
        if at == self._at:
            style += _CURSOR
        return Strip([Segment(self._line(item, width), style)], width)

    def on_resize(self, event: Resize) -> None:
        self.virtual_size = Size(self.width, len(self._items) + 1)
        self._see()

    def on_click(self, event: Click) -> None:
        event.stop()
        if event.y == 0:
            self.post_message(self.TitleClicked(event.x))
            return
        at = event.y - 1 + self.scroll_offset.y
        if at < len(self._items):
            self._go(at)
            if event.chain == 2:
                self.post_message(self.Chosen())

    def action_move(self, count: int) -> None:
        self._go(self._at + count)

    def action_page(self, count: int) -> None:
        self._go(self._at + count * max(self.room - 1, 1))

    def action_first(self) -> None:
        self._go(0)

    def action_last(self) -> None:
        self._go(len(self._items) - 1)

    def action_choose(self) -> None:
        if self.current is not None:
            self.post_message(self.Chosen())

    def _go(self, at: int) -> None:
        at = min(max(at, 0), max(len(self._items) - 1, 0))
        if at != self._at:
            self._at = at
            self._see()
            self.refresh()
            self.post_message(self.Moved())

    def _see(self) -> None:
        """Scroll so that the cursor can be seen."""
        top = self.scroll_offset.y
        if self._at < top:
            self.scroll_to(y=self._at, animate=False)
        elif self._at >= top + self.room:
            self.scroll_to(y=self._at - self.room + 1, animate=False)
