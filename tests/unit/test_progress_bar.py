"""What is drawn."""

import io

from rich.console import Console

from tunproxy.progress_bar import make_bar


def drawn(total: float | None, done: float, words: str = "reading [b]x") -> str:
    bar = make_bar(io.StringIO(), 5, lambda: done)
    bar.add_task(words, total=total)
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(bar.get_renderable())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_known_total_shows_the_share() -> None:
    assert "50%" in drawn(10, 5)


def test_unknown_total_shows_the_time_that_has_gone() -> None:
    text = drawn(None, 5)
    assert "%" not in text
    assert "0:00" in text


def test_words_are_not_markup() -> None:
    assert "reading [b]x" in drawn(10, 5)


def test_time_that_is_left_is_in_minutes() -> None:
    bar = make_bar(io.StringIO(), 5, lambda: 0.0)
    clock = iter([0.0, 0.0, *[float(second) for second in range(1, 40)]])
    bar.get_time = lambda: next(clock)
    task = bar.add_task("x", total=1000)
    bar.update(task, completed=1)
    bar.update(task, completed=2)
    text = bar.columns[-1].render(bar.tasks[0])
    assert " left" in str(text)
