"""The terminal program: puts widgets together, and does what keys say."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final  # Any: a document, as JSON has it

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Footer, Input, Static

from tunproxy.cli.status_text import counted
from tunproxy.cli.streams import has_hung_up
from tunproxy.cli.top import asking
from tunproxy.cli.top.cells import fit
from tunproxy.cli.top.dialogs import FilterLine, Help, Question
from tunproxy.cli.top.feed import Feed
from tunproxy.cli.top.flows import Flow
from tunproxy.cli.top.head import first_line, rates_line, view_line
from tunproxy.cli.top.lines import Lines
from tunproxy.cli.top.pane import Pane
from tunproxy.cli.top.table import Table
from tunproxy.cli.top.view import KINDS, Item, View, key_of
from tunproxy.control.endpoint import Found
from tunproxy.errors import ConfigError
from tunproxy.progress import is_seen

# our choices
EXPLAIN_SECONDS: Final = 0.3  # the cursor rests so long before anybody is asked
LATE_SECONDS: Final = 0.2  # in which letters may come that were typed before Enter
HANG_UP_SECONDS: Final = 1.0  # between two looks at whether the terminal is there
STDIN_FD: Final = 0


class TopApp(App[None]):
    """Shows view, as the stream of the tunproxy that tun or socket name tells of it.

    textual finds handlers and actions by their names in this class, hence their number: each says which
    widget or part of view does the work, and has it drawn.
    """

    CSS = """
    Screen { layers: base; }
    #head { height: 2; text-style: bold; }
    #view { height: 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False),
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("enter", "keep_filter", "Back to the list", priority=True),
        Binding("escape", "drop_filter", "No filter", priority=True),
        Binding("v", "next_view", "View"),
        Binding("s", "sort(1)", "Sort"),
        Binding("r", "turn", "Turn"),
        Binding("e", "explain", "Why"),
        Binding("x", "close", "Close"),
        Binding("X", "close_all", "All", key_display="X"),
        Binding("p", "pause", "Pause"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("S", "sort(-1)", show=False),
        *(Binding(str(at), f"show('{kind}')", show=False) for at, kind in enumerate(KINDS, 1)),
    ]

    class Told(Message):
        """Something of the stream, from the thread that reads it."""

        def __init__(self, told: Mapping[str, Any]) -> None:
            super().__init__()
            self.told: Final = told

    class FoundOne(Message):
        """Whom the stream is of."""

        def __init__(self, found: Found) -> None:
            super().__init__()
            self.found: Final = found

    class Lost(Message):
        """Why there is no stream."""

        def __init__(self, why: str) -> None:
            super().__init__()
            self.why: Final = why

    def __init__(self, view: View, tun: str, socket: str, seconds: float) -> None:
        super().__init__(ansi_color=True)  # the terminal's own colours, and none with NO_COLOR
        self.theme = "ansi-dark"
        self.view: Final = view
        self.trouble = ""
        self._mistake = ""  # what is wrong with the filter as it is written now
        self._who = ""
        self._path = Path()
        self._is_paused = False
        self._lines: Final = Lines(view)
        self._feed: Final = Feed(
            tun,
            socket,
            seconds,
            on_found=lambda found: _post(self, self.FoundOne(found)),
            on_told=lambda told: _post(self, self.Told(told)),
            on_lost=lambda why: _post(self, self.Lost(why)),
        )
        self.table: Final[Table[Item]] = Table(self._lines.titles, self._lines.line, key_of, _is_faint)
        self.pane: Final = Pane(self._why)
        self._head: Final = Static("", id="head", markup=False)
        self._view_line: Final = Static("", id="view", markup=False)
        self._filter: Final = FilterLine()

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._view_line
        yield self._filter
        yield self.table
        yield self.pane
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        with contextlib.suppress(RuntimeError, ValueError):  # where this is not the main thread
            # else the terminal would stay as it is drawn on
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        if is_seen(sys.stdin):
            self.set_interval(HANG_UP_SECONDS, self._end_without_terminal)
        self.table.focus()
        self._feed.start()

    def _end_without_terminal(self) -> None:
        """End where the terminal has gone and nobody ends us for it, as under nohup."""
        if has_hung_up(STDIN_FD):
            self.exit()

    def on_unmount(self) -> None:
        self._feed.close()

    # what the stream tells

    def on_top_app_found_one(self, message: FoundOne) -> None:
        self._who, self._path = message.found.name, message.found.path
        self.trouble = ""
        self.view.flows.forget()

    def on_top_app_told(self, message: Told) -> None:
        try:
            is_complete = self.view.flows.take(message.told)
        except (KeyError, TypeError, ValueError, AttributeError):
            self.trouble = asking.STRANGE
            is_complete = True
        if is_complete and not self._is_paused:
            self.redraw()

    def on_top_app_lost(self, message: Lost) -> None:
        self.trouble = message.why
        self._draw_head()

    # drawing

    def redraw(self) -> None:
        """Draw everything anew."""
        self.table.show(self.view.items())
        self._draw_head()

    def _draw_head(self) -> None:
        width = self.size.width
        place, count = self.table.place, self.table.count
        first = first_line(self._who, self.trouble, self.view, place, count, width)
        self._head.update(f"{first}\n{rates_line(self.view.flows, width)}", layout=False)
        line = self._mistake and fit(self._mistake, width)
        line = line or view_line(self.view, width, is_paused=self._is_paused)
        self._view_line.update(line, layout=False)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_head)

    # what keys do

    def action_show(self, kind: str) -> None:
        self.view.show(kind)
        self.table.action_first()
        self.redraw()
        self._explain_soon()

    def action_next_view(self) -> None:
        self.action_show(KINDS[(KINDS.index(self.view.kind) + 1) % len(KINDS)])

    def action_sort(self, step: int) -> None:
        titles = [column.title for column, _ in self._lines.columns(self.table.width)]
        now = self.view.sort.title
        at = titles.index(now) + step if now in titles else 0
        self.view.sort_by(titles[at % len(titles)])
        self.redraw()

    def action_turn(self) -> None:
        self.view.turn()
        self.redraw()

    def action_pause(self) -> None:
        self._is_paused = not self._is_paused
        self.redraw()

    def action_help(self) -> None:
        self.push_screen(Help())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether a key does anything now.

        Those of the filter come before all others, because what is typed right after them, before anybody
        has had time to act, is meant for where they lead.
        """
        if action not in ("filter", "keep_filter", "drop_filter"):
            return True
        return len(self.screen_stack) == 1 and self._filter.is_open is not (action == "filter")

    def action_filter(self) -> None:
        self._filter.begin(self.view.text)

    def on_input_changed(self, event: Input.Changed) -> None:
        if not self._filter.counts:
            return
        try:
            self.view.look_for(event.value)
            self._mistake = ""
        except ConfigError as error:  # perhaps it is not all written yet
            self._mistake = str(error)
        if not self._filter.is_open:
            self._tell_mistake_soon()
        self.redraw()

    def action_keep_filter(self) -> None:
        self._filter.end()
        self._tell_mistake_soon()
        self._draw_head()
        self.screen.set_focus(self.table)

    def _tell_mistake_soon(self) -> None:
        """Say what is wrong with a filter that somebody took for ready, once all that was typed has come."""
        self.set_timer(LATE_SECONDS, self._tell_mistake)

    def _tell_mistake(self) -> None:
        if self._mistake and not self._filter.is_open:
            self.notify(self._mistake, severity="warning")
            self._mistake = ""
            self._draw_head()

    def action_drop_filter(self) -> None:
        self._filter.drop()
        self._mistake = ""
        self.screen.set_focus(self.table)
        self.view.widen()
        self.redraw()

    def action_leave(self) -> None:
        """Close the pane; or else show all flows again."""
        if self.pane.is_open:
            self._open_pane(False)
        else:
            self.view.widen()
            self.redraw()

    def on_table_title_clicked(self, message: "Table.TitleClicked") -> None:
        column = self._lines.column_at(message.x, self.table.width)
        if column is not None:
            self.view.sort_by(column.title)
            self.redraw()

    # why

    def on_table_chosen(self) -> None:
        item = self.table.current
        if item is None or isinstance(item, Flow):
            self.action_explain()
            return
        self.view.enter(item)
        self.table.action_first()
        self.redraw()

    def action_explain(self) -> None:
        self._open_pane(not self.pane.is_open)

    def _open_pane(self, is_open: bool) -> None:
        self.pane.open(is_open)
        self.table.holds = is_open
        if is_open:
            self._explain_soon()
        else:
            self.table.focus()

    def on_table_moved(self) -> None:
        self._draw_head()
        self._explain_soon()

    def _explain_soon(self) -> None:
        if self.pane.is_open:
            self.set_timer(EXPLAIN_SECONDS, self._explain)

    def _explain(self) -> None:
        item = self.table.current
        if isinstance(item, Flow):
            self.pane.ask(item.number)
        elif item is not None:
            self.pane.say(f"{self.view.kind}: {item.name}\nEnter shows its flows.")

    def _why(self, number: int) -> str:
        """Return why a flow goes where it goes; not called in the program's own thread."""
        return asking.why(self._path, number)

    # closing

    def action_close(self) -> None:
        item = self.table.current
        if item is None:
            return
        flows = self.view.flows_of(item)
        if isinstance(item, Flow):
            what = f"flow {item.number}, {item.target} of {item.process}"
        else:
            what = f"{counted(len(flows), 'flow')} of {self.view.kind} {item.name}"
        self._ask(what, flows)

    def action_close_all(self) -> None:
        flows = [flow for flow in self.view.found() if not flow.is_over]
        self._ask(f"all that is shown, {counted(len(flows), 'flow')}", flows)

    def _ask(self, what: str, flows: list[Flow]) -> None:
        if not flows:
            self.notify("nothing of it is open")
            return
        ids = [flow.id for flow in flows]

        def answered(is_yes: bool | None) -> None:
            if is_yes:
                self.run_worker(partial(self._end, ids), group="end", thread=True, exit_on_error=False)

        self.push_screen(Question(f"Close {what}?"), answered)

    def _end(self, ids: list[str]) -> None:
        """End flows; this is not the program's own thread."""
        self.call_from_thread(self.notify, asking.end(self._path, ids))


def _post(app: TopApp, message: Message) -> None:
    """Hand a message over from another thread; False from an app that has ended is nobody's concern."""
    app.post_message(message)


def _is_faint(item: Item) -> bool:
    return isinstance(item, Flow) and item.is_over
