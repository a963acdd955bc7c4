"""A long list of which only what can be seen is made."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("textual", reason="textual is not installed")

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tunproxy.cli.top.table import Table

# nothing that draws is compiled, and tests/system/test_top.py runs all of it as it is installed
pytestmark = pytest.mark.interpreted_only("textual draws the same, whatever is compiled")


class One(App[None]):
    """A table of numbers."""

    def __init__(self) -> None:
        super().__init__(ansi_color=True)
        self.table: Table[int] = Table(
            lambda width: "title".ljust(width),
            lambda item, width: f"item {item}".ljust(width),
            lambda item: item,
            lambda item: item < 0,
        )
        self.moved = self.chosen = 0
        self.clicked: list[int] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def on_mount(self) -> None:
        self.table.focus()

    def on_table_moved(self) -> None:
        self.moved += 1

    def on_table_chosen(self) -> None:
        self.chosen += 1

    def on_table_title_clicked(self, message: "Table.TitleClicked") -> None:
        self.clicked.append(message.x)


def use(what: Callable[[One, "Pilot[None]"], Awaitable[None]], height: int = 11) -> None:
    async def talk() -> None:
        app = One()
        async with app.run_test(size=(30, height)) as pilot:
            await what(app, pilot)

    asyncio.run(talk())


def lines(app: One) -> list[str]:
    return [app.table.render_line(y).text.rstrip() for y in range(app.table.size.height)]


def test_only_what_is_seen_is_made() -> None:
    async def talk(app: One, pilot: "Pilot[None]") -> None:
        app.table.drawn = 0
        app.table.show(range(100_000))
        await pilot.pause()
        assert 0 < app.table.drawn <= 50
        assert lines(app)[:2] == ["title", "item 0"]
        await pilot.press("end")
        assert (app.table.current, lines(app)[0], lines(app)[-1]) == (99_999, "title", "item 99999")
        await pilot.press("home", "down", "j", "pagedown")
        assert (app.table.current, app.table.place) == (11, 12)
        await pilot.press("k", "up", "pageup", "pageup", "up")
        assert app.table.current == 0
        assert app.table.count == 100_000

    use(talk)


def test_cursor_goes_with_its_item() -> None:
    async def talk(app: One, pilot: "Pilot[None]") -> None:
        app.table.show([5, 6, 7])
        await pilot.press("down")
        app.table.show([7, 6, 5, 4])
        assert app.table.current == 6
        app.table.show([1, 2, 3, *range(100, 200), 6])
        await pilot.pause()
        assert app.table.current == 6
        assert lines(app)[-1] == "item 6"  # and can be seen
        app.table.show([1, 2])
        assert (app.table.current, app.table.place) == (2, 2)
        app.table.show([])
        assert (app.table.current, app.table.place) == (None, 0)
        await pilot.press("down", "end", "enter")
        assert app.chosen == 0

    use(talk)


def test_cursor_at_the_top_stays_there_unless_it_is_held() -> None:
    async def talk(app: One, pilot: "Pilot[None]") -> None:
        app.table.show([1, 2])
        app.table.show([2, 1])
        assert app.table.current == 2
        app.table.holds = True
        app.table.show([1, 2])
        assert app.table.current == 2
        await pilot.pause()
        assert app.moved == 2  # the first item, and the other one that came to the top

    use(talk)


def test_mouse_chooses_and_sorts() -> None:
    async def talk(app: One, pilot: "Pilot[None]") -> None:
        app.table.show([1, 2, 3])
        await pilot.click(app.table, offset=(4, 0))
        await pilot.click(app.table, offset=(4, 2))
        await pilot.click(app.table, offset=(4, 9))
        assert (app.clicked, app.table.current, app.chosen) == ([4], 2, 0)
        await pilot.click(app.table, offset=(4, 3), times=2)
        assert (app.table.current, app.chosen) == (3, 1)
        await pilot.press("enter")
        assert app.chosen == 2

    use(talk)


def test_cursor_can_be_seen_in_whatever_size() -> None:
    async def talk(app: One, pilot: "Pilot[None]") -> None:
        app.table.show(range(40))
        await pilot.press(*["down"] * 9)
        await pilot.resize_terminal(20, 5)
        await pilot.pause()
        assert "item 9" in lines(app)
        assert len(lines(app)) == 5
        await pilot.resize_terminal(1, 1)
        await pilot.resize_terminal(40, 50)
        await pilot.pause()
        assert lines(app)[40] == "item 39"

    use(talk)


def test_cursor_needs_no_colour() -> None:
    async def talk(app: One, pilot: "Pilot[None]") -> None:
        app.table.show([-1, 2])
        await pilot.press("down")
        over, current = (app.table.render_line(y)._segments[0].style for y in (1, 2))
        assert over is not None
        assert current is not None
        assert (over.reverse, over.dim, current.reverse, current.dim) == (None, True, True, None)

    use(talk)
