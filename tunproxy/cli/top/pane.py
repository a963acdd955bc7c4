"""The pane that says why a flow goes where it goes."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static


class Pane(VerticalScroll):
    """Text that can be scrolled, hidden until it is shown. why returns what is said of a flow, and may take
    its time: it is called in a thread.
    """

    DEFAULT_CSS = """
    Pane { display: none; height: 50%; border-top: solid ansi_default; scrollbar-size-vertical: 1; }
    Pane.-open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.leave", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("j", "scroll_down", show=False),
    ]

    def __init__(self, why: Callable[[int], str]) -> None:
        super().__init__()
        self._why: Final = why
        self._number = 0  # of the flow that it is about
        self._text: Final = Static("", markup=False)

    def compose(self) -> ComposeResult:
        yield self._text

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def open(self, is_open: bool) -> None:
        """Show it, or hide it; what it has said is asked for anew the next time."""
        self.set_class(is_open, "-open")
        self._number = 0

    def ask(self, number: int) -> None:
        """Say why a flow goes where it goes, unless that is what it says already."""
        if self.is_open and number != self._number:
            self._number = number
            self.run_worker(
                partial(self._fetch, number), group="why", thread=True, exclusive=True, exit_on_error=False
            )

    def say(self, text: str) -> None:
        """Show text from its beginning."""
        self._number = 0
        self._show(text)

    def _fetch(self, number: int) -> None:
        self.app.call_from_thread(self._said, number, self._why(number))

    def _said(self, number: int, text: str) -> None:
        if number == self._number:
            self._show(f"flow {number}: {text}")

    def _show(self, text: str) -> None:
        self._text.update(text)
        self.scroll_home(animate=False)
