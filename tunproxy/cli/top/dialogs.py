"""What is asked: for words to filter by, before something is ended; and what the keys do."""

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

HELP: Final = """\
1 2 3 4   flows, processes, rules, upstreams        v  the next of these
/         filter; Enter goes back to the list, Escape takes the filter away
s S       sort by the next column, the one before   r  the other way round
Enter     of a flow: why it goes where it goes; of a group: its flows
e         why: a pane that follows the cursor; Tab and arrows scroll it
x         close what the cursor is on, after a question
X         close all that is shown, after a question
p         pause: nothing moves until p is pressed again
arrows, PgUp, PgDn, Home, End (k, j, g, G)           q  end

A filter is words that all fit, as of tunproxy capture: shop.example, udp,
process:curl, host:shop.example, port:443,8443, rule:shop, upstream:work,
user:alice, client:10.0.0.0/8, state:open; !udp is what is not wanted.
What is over stays for five seconds."""


class FilterLine(Input):
    """The line in which a filter is written, hidden until it is begun."""

    DEFAULT_CSS = "FilterLine { height: 1; }"

    def __init__(self) -> None:
        super().__init__(compact=True, placeholder="process:curl port:443 !udp shop.example")
        self.display = False
        self.counts = False  # whether what is written is a filter

    @property
    def is_open(self) -> bool:
        return self.display

    def begin(self, text: str) -> None:
        """Show it, with text that can be changed."""
        self.value = text
        self.counts = self.display = True
        self.screen.set_focus(self)  # at once: the next key may have been pressed already

    def end(self) -> None:
        """Hide it; what was typed until now still counts, though it may come later."""
        self.display = False

    def drop(self) -> None:
        """Hide it; nothing of it counts any more."""
        self.counts = self.display = False


class Dialog(ModalScreen[bool]):
    """A box in the middle."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > VerticalScroll {
        width: auto; max-width: 100%; height: auto; max-height: 100%;
        border: solid ansi_default; padding: 0 1;
    }
    Dialog Static { width: auto; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text: Final = text

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(self.text, markup=False)


class Question(Dialog):
    """Returns whether the answer was yes; anything but y is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,Y", "answer(True)", "Yes"),
        Binding("n,N,escape,enter,q", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}\n\n[y] yes   [n] no")

    def action_answer(self, is_yes: bool) -> None:
        self.dismiss(is_yes)


class Help(Dialog):
    """What the keys do."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,question_mark", "leave", "Back")]

    def __init__(self) -> None:
        super().__init__(HELP)

    def action_leave(self) -> None:
        self.dismiss(False)
