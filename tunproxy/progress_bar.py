"""What ``progress`` shows, drawn by rich; imported only where there is something to show."""

from collections.abc import Callable, Iterable
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text


class Bar(Progress):
    """A line with a bar. done is asked when it is drawn, so that to tell it costs an addition."""

    def __init__(
        self, done: Callable[[], float], *columns: ProgressColumn, console: Console, per_second: float
    ) -> None:
        super().__init__(
            *columns,
            console=console,
            transient=True,
            refresh_per_second=per_second,
            redirect_stdout=False,  # or what goes to a pipe would go to the terminal
            redirect_stderr=False,
        )
        self._done: Final = done

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            if task.total is not None:
                self.update(task.id, completed=self._done())
        yield from super().get_renderables()


class HowFar(ProgressColumn):
    """The share that is done, and the time that is left; or the time that has gone, where that is all."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(_clock(task.elapsed or 0.0))
        left = "" if task.time_remaining is None else f", {_clock(task.time_remaining)} left"
        return Text(f"{task.percentage:.0f}%{left}")


def make_bar(stream: TextIO, per_second: float, done: Callable[[], float]) -> Bar:
    """Return a bar that draws itself on stream, a terminal, once it is started."""
    return Bar(
        done,
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        HowFar(),
        console=Console(file=stream, force_terminal=True, highlight=False),
        per_second=per_second,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"
