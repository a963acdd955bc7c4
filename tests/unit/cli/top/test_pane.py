"""The pane that says why."""

import asyncio
import threading

import pytest

pytest.importorskip("textual", reason="textual is not installed")

from textual.app import App, ComposeResult

from tunproxy.cli.top.pane import Pane

# nothing that draws is compiled, and tests/system/test_top.py runs all of it as it is installed
pytestmark = pytest.mark.interpreted_only("textual draws the same, whatever is compiled")


def test_pane_is_hidden_until_it_is_opened_and_begins_at_its_beginning() -> None:
    class One(App[None]):
        def compose(self) -> ComposeResult:
            yield Pane(str)

    async def talk() -> None:
        app = One()
        async with app.run_test(size=(40, 10)) as pilot:
            pane = app.query_one(Pane)
            assert (pane.is_open, pane.display) == (False, False)
            pane.open(True)
            pane.say("[red]a line\n" * 50)
            await pilot.pause()
            assert (pane.is_open, pane.display) == (True, True)
            pane.focus()
            await pilot.press("j", "j", "k", "down")
            await pilot.pause()
            assert pane.scroll_offset.y > 0
            pane.say("[red] is no colour")
            await pilot.pause()
            assert pane.scroll_offset.y == 0
            assert str(pane._text.render()) == "[red] is no colour"
            pane.open(False)
            assert not pane.display

    asyncio.run(talk())


def test_pane_says_why_of_the_flow_that_was_asked_for_last() -> None:
    asked: list[int] = []
    go_on = threading.Event()

    def why(number: int) -> str:
        asked.append(number)
        if number == 1:
            go_on.wait(20)
        return f"because of {number}"

    class One(App[None]):
        def compose(self) -> ComposeResult:
            yield Pane(why)

    async def talk() -> None:
        app = One()
        async with asyncio.timeout(30), app.run_test(size=(40, 10)) as pilot:
            pane = app.query_one(Pane)
            pane.ask(1)  # nobody sees it
            assert asked == []
            pane.open(True)
            for number in (1, 1, 2):
                pane.ask(number)
                while number not in asked:
                    await asyncio.sleep(0.01)
            go_on.set()  # its answer comes last, and is not wanted any more
            await app.workers.wait_for_complete()
            await pilot.pause()
            assert asked == [1, 2]
            assert str(pane._text.render()) == "flow 2: because of 2"
            pane.open(False)
            pane.open(True)
            pane.ask(2)
            await app.workers.wait_for_complete()
            assert asked == [1, 2, 2]

    asyncio.run(talk())
