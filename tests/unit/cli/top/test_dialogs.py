"""Questions and their answers."""

import asyncio

import pytest

pytest.importorskip("textual", reason="textual is not installed")

from textual.app import App

from tunproxy.cli.top.app import TopApp
from tunproxy.cli.top.dialogs import HELP, FilterLine, Help, Question
from tunproxy.control.flow_filter import parse_filter

# nothing that draws is compiled, and tests/system/test_top.py runs all of it as it is installed
pytestmark = pytest.mark.interpreted_only("textual draws the same, whatever is compiled")


@pytest.mark.parametrize(
    ("key", "answer"),
    [("y", True), ("Y", True), ("n", False), ("escape", False), ("enter", False), ("q", False)],
)
def test_only_y_is_yes(key: str, answer: bool) -> None:
    async def talk() -> None:
        app: App[None] = App()
        answers: list[bool | None] = []
        async with app.run_test(size=(80, 24)) as pilot:
            question = Question("Close [b]all[/b]?")
            await app.push_screen(question, answers.append)
            await pilot.press("x", "space")  # are no answers
            assert answers == []
            await pilot.press(key)
            assert answers == [answer]

    asyncio.run(talk())


def test_help_fits_a_usual_terminal_and_names_every_key() -> None:
    async def talk() -> None:
        app: App[None] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            shown = Help()
            await app.push_screen(shown)
            box = shown.children[0]
            assert box.size.width <= 78
            assert box.virtual_size.height <= box.size.height
            await pilot.press("question_mark")
            assert app.screen is not shown

    asyncio.run(talk())
    keys = {"slash": "/", "question_mark": "help"}
    for binding in TopApp.BINDINGS:
        key = binding.key  # type: ignore[union-attr]
        if len(key) == 1 or key in keys:
            assert keys.get(key, key) in f"{HELP} help"
    for word in ("process:curl", "port:443,8443", "client:10.0.0.0/8", "!udp", "state:open"):
        assert word in HELP
        parse_filter(word)


def test_filter_line_is_hidden_until_it_is_begun() -> None:
    async def talk() -> None:
        app: App[None] = App()
        async with app.run_test(size=(80, 24)):
            line = FilterLine()
            await app.screen.mount(line)
            assert (line.is_open, line.display) == (False, False)
            line.begin("curl")
            assert (line.is_open, line.display, line.value) == (True, True, "curl")
            line.end()
            assert not line.display

    asyncio.run(talk())
