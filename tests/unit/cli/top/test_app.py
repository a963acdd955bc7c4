"""The terminal program, driven key by key without a terminal."""

import asyncio
import html
import importlib.util
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual", reason="textual is not installed")

from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from tests.unit.cli.top.told import look, row
from tunproxy.cli.top import app as app_module
from tunproxy.cli.top import asking
from tunproxy.cli.top.app import TopApp
from tunproxy.cli.top.dialogs import Help, Question
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.view import View
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.errors import TunproxyError

# nothing that draws is compiled, and tests/system/test_top.py runs all of it as it is installed
pytestmark = pytest.mark.interpreted_only("textual draws the same, whatever is compiled")
ROOT = Path(__file__).resolve().parents[4]
Talk = Callable[["World", "Pilot[None]"], Awaitable[None]]
FOUND = Found(Path("/run/tun0.sock"), ALIVE, 7)
ROWS = (
    row(1, process="curl", name="shop.example", rule="DOMAIN,shop.example,work", chain="work"),
    row(2, process="git", name="code.example"),
    row(3, process="curl", name="mail.example"),
)


class World:
    """The program, with a stream that tests tell what to say, and a tunproxy that answers them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **how: str) -> None:
        self.feed: Any = None
        self.asked: list[object] = []
        self.answer: Callable[[int], Mapping[str, Any]] = lambda number: {"number": number}
        self.second = 10
        world = self

        class Feed:
            def __init__(self, tun: str, socket: str, seconds: float, **functions: Any) -> None:
                world.feed = self
                self.which = tun, socket, seconds
                self.functions = functions
                self.is_open: bool | None = None

            def start(self) -> None:
                self.is_open = True

            def close(self) -> None:
                self.is_open = False

        def end(path: Path, ids: list[str]) -> int:
            self.asked.append((str(path), ids))
            if ids == ["id-2"]:
                raise TunproxyError("cannot ask: permission denied")
            return len(ids)

        def fetch(path: Path, number: int) -> Mapping[str, Any]:
            self.asked.append((str(path), number))
            return self.answer(number)

        monkeypatch.setattr(app_module, "Feed", Feed)
        monkeypatch.setattr(app_module, "EXPLAIN_SECONDS", 0.01)
        monkeypatch.setattr(asking, "end_flows", end)
        monkeypatch.setattr(asking, "fetch_flow", fetch)
        monkeypatch.setattr(asking, "describe_record", lambda found: f"because of {found['number']}")
        self.app = TopApp(View(LiveFlows(), **how), "tun0", "", 1.0)

    def tell(self, *rows: dict[str, Any], **more: Any) -> None:
        self.second += 1
        self.feed.functions["on_told"](look(self.second, *rows, **more))

    def shown(self) -> list[str]:
        """Return the lines of the list, without what is empty at its end."""
        table = self.app.table
        found = [table.render_line(y).text.rstrip() for y in range(table.size.height)]
        while found and not found[-1]:
            found.pop()
        return found

    def numbers(self) -> list[int]:
        return [int(line.split()[0]) for line in self.shown()[1:]]

    def head(self) -> str:
        return "\n".join(str(each.render()) for each in (self.app._head, self.app._view_line))


def use(
    monkeypatch: pytest.MonkeyPatch, talk: Talk, *, size: tuple[int, int] = (80, 24), **how: str
) -> World:
    world = World(monkeypatch, **how)

    async def go() -> None:
        async with asyncio.timeout(90), world.app.run_test(size=size) as pilot:
            world.feed.functions["on_found"](FOUND)
            world.tell(*ROWS)
            world.tell(octets=((2, 0, 500), (3, 0, 100)))
            await pilot.pause()
            await talk(world, pilot)

    asyncio.run(go())
    return world


async def until(pilot: "Pilot[None]", condition: Callable[[], object]) -> None:
    """Return when something is so that happens in another thread."""
    while not condition():
        await asyncio.sleep(0.01)
        await pilot.pause()


def test_flows_are_shown_with_rates_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        assert world.numbers() == [2, 3, 1]
        assert world.shown()[1].split()[1:] == ["git", "tcp", "code.example:443", "direct", "500", "B/s", "-"]
        assert world.head().startswith("tunproxy tun0  3 flows open")
        assert "down    600 B/s" in world.head()
        footer = world.app.query_one(Footer)
        keys = " ".join(str(key.render()).strip() for key in footer.query(FooterKey))
        assert keys == "q Quit / Filter v View s Sort r Turn e Why x Close X All p Pause ? Help"

    world = use(monkeypatch, talk)
    assert world.feed.which == ("tun0", "", 1.0)
    assert world.feed.is_open is False


def test_views_sorts_and_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        await pilot.press("v")
        assert [line.split()[0] for line in world.shown()] == ["process", "git", "curl"]
        await pilot.press("3")
        assert world.shown()[0].startswith("rule")
        await pilot.press("4", "v")
        assert world.app.view.kind == "flow"
        await pilot.press("s", "s")  # round to the first column
        assert (world.app.view.sort.title, world.numbers()) == ("flow", [3, 2, 1])
        await pilot.press("r")
        assert world.numbers() == [1, 2, 3]
        await pilot.press("S")
        assert world.app.view.sort.title == "up/s"
        await pilot.press("slash", *"mail", "enter")
        assert (world.numbers(), world.app.view.text) == ([3], "mail")
        assert "filter: mail" in world.head()
        await pilot.press("slash", "q", "escape")  # what is written there is no command
        assert sorted(world.numbers()) == [1, 2, 3]
        assert world.app.focused is world.app.table

    use(monkeypatch, talk)


def test_filter_that_is_not_all_written_yet_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        await pilot.press("slash", *"port:")
        assert world.app.view.text == "port"
        assert "cannot use the filter 'port:'" in world.head()
        world.tell(octets=((2, 0, 100),))
        await pilot.pause()
        assert "cannot use the filter 'port:'" in world.head(), "as long as it is wrong"
        await pilot.press("8")
        assert (world.numbers(), world.app.view.text) == ([], "port:8")
        assert "cannot use" not in world.head()
        await pilot.press("comma", "escape")
        assert "cannot use" not in world.head()

    use(monkeypatch, talk)


@pytest.mark.parametrize("is_late", [False, True])
def test_filter_that_is_wrong_when_it_is_ready_is_told_once(
    monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """Letters may come after Enter where all is typed at once, as over a slow line."""

    async def talk(world: World, pilot: "Pilot[None]") -> None:
        said: list[str] = []
        monkeypatch.setattr(world.app, "notify", lambda words, **how: said.append(words))
        await pilot.press("slash", *("mai" if is_late else "port:x"))
        if is_late:
            world.app._filter.end()
            for text in ("port:", "port:x"):
                world.app._filter.value = text
        else:
            await pilot.press("enter")
        await until(pilot, lambda: said)
        await until(pilot, lambda: "cannot use the filter" not in world.head())
        assert len(said) == 1
        assert said[0].startswith("cannot use the filter 'port:x'")
        await pilot.press("slash", "escape")
        assert (world.app.view.text, sorted(world.numbers())) == ("", [1, 2, 3])

    use(monkeypatch, talk)


def test_group_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        await pilot.press("2", "down", "enter")
        assert (world.app.view.within, world.numbers()) == ({"process": "curl"}, [3, 1])
        await pilot.press("escape")
        assert len(world.numbers()) == 3

    use(monkeypatch, talk)


def test_title_is_clicked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        await pilot.click(world.app.table, offset=(3, 0))
        assert (world.app.view.sort.title, world.numbers()) == ("flow", [3, 2, 1])

    use(monkeypatch, talk)


def test_pane_says_why_and_follows_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        def said() -> str:
            return str(world.app.pane._text.render())

        await pilot.press("e")
        await until(pilot, lambda: said() == "flow 2: because of 2")
        assert world.app.pane.display
        world.tell(octets=((3, 0, 9000),))  # another flow comes to the top; the cursor stays
        await pilot.pause()
        assert (world.numbers()[0], world.app.table.place) == (3, 2)
        await pilot.press("up")
        await until(pilot, lambda: said() == "flow 3: because of 3")
        assert world.asked == [("/run/tun0.sock", 2), ("/run/tun0.sock", 3)]
        world.answer = lambda number: {}  # of another version
        await pilot.press("down")
        await until(pilot, lambda: "this version does not understand" in said())
        await pilot.press("2")
        await until(pilot, lambda: said().startswith("process: "))
        await pilot.press("escape")
        assert not world.app.pane.display
        await pilot.press("1", "enter")
        assert world.app.pane.display

    use(monkeypatch, talk)


def test_why_there_is_no_explanation_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(number: int) -> Mapping[str, Any]:
        raise TunproxyError(f"there is no flow {number} (any more)")

    async def talk(world: World, pilot: "Pilot[None]") -> None:
        world.answer = gone
        await pilot.press("e")
        await until(pilot, lambda: "there is no flow 2 (any more)" in str(world.app.pane._text.render()))

    use(monkeypatch, talk)


def test_flows_are_closed_after_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        def is_asking() -> bool:
            return isinstance(world.app.screen, Question)

        async def asked(*keys: str) -> str:
            await pilot.press(*keys)
            await until(pilot, is_asking)
            question = world.app.screen
            assert isinstance(question, Question)
            return question.text.splitlines()[0]

        async def answer(key: str) -> None:
            await pilot.press(key)
            await until(pilot, lambda: not is_asking())

        assert await asked("down", "x") == "Close flow 3, tcp mail.example:443 of curl?"
        await answer("n")
        await asked("x")
        await answer("y")
        await until(pilot, lambda: world.asked == [("/run/tun0.sock", ["id-3"])])
        assert await asked("2", "down", "x") == "Close 2 flows of process curl?"
        await answer("escape")
        assert await asked("1", "slash", *"curl", "enter", "X") == "Close all that is shown, 2 flows?"
        world.tell(row(4, process="curl"))  # has begun since the question
        await pilot.pause()
        await answer("y")
        await until(pilot, lambda: len(world.asked) == 2)
        assert world.asked[1] == ("/run/tun0.sock", ["id-3", "id-1"])

    use(monkeypatch, talk)


def test_what_went_wrong_with_closing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        said: list[str] = []
        monkeypatch.setattr(world.app, "notify", said.append)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(world.app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: said == ["cannot ask: permission denied"])
        world.tell(gone=(1, 2, 3))
        await pilot.pause()
        await pilot.press("x", "X")
        assert said[1:] == ["nothing of it is open"] * 2

    use(monkeypatch, talk)


def test_pause_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        await pilot.press("p")
        world.tell(row(9), octets=((1, 0, 5000),))
        await pilot.pause()
        assert world.numbers() == [2, 3, 1]
        assert "PAUSED" in world.head()
        await pilot.press("p")
        assert world.numbers() == [1, 9, 3, 2]
        assert "PAUSED" not in world.head()

    use(monkeypatch, talk)


def test_end_of_tunproxy_is_said_and_another_one_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        world.feed.functions["on_lost"]("tunproxy has stopped")
        await pilot.pause()
        assert world.head().startswith("tunproxy has stopped; looking for it again")
        assert world.numbers() == [2, 3, 1]  # what there was is still there to be read
        world.feed.functions["on_found"](Found(Path("/run/tun1.sock"), ALIVE, 8))
        world.tell(row(1, process="ssh"))
        await pilot.pause()
        assert world.numbers() == [1]
        assert world.head().startswith("tunproxy tun1  1 flow open")

    use(monkeypatch, talk)


def test_stream_of_another_version_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        world.feed.functions["on_told"]({"rows": 7})
        await pilot.pause()
        assert world.head().startswith("this version does not understand")

    use(monkeypatch, talk)


@pytest.mark.parametrize("size", [(80, 24), (8, 2), (200, 60)])
def test_every_size_shows_what_fits(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        for again in ((120, 30), size):
            await pilot.resize_terminal(*again)
            await pilot.pause()
        assert all(len(line) <= size[0] for line in [*world.head().splitlines(), *world.shown()])
        await pilot.press("e", "question_mark")
        assert isinstance(world.app.screen, Help)
        await pilot.press("q")  # leaves the help, not the program
        assert world.app.is_running
        if size[1] >= 10:
            assert "code.example" in world.shown()[1]

    use(monkeypatch, talk, size=size)


def test_ctrl_c_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        await pilot.press("slash", "ctrl+c")

    assert use(monkeypatch, talk).app.return_code == 0


def test_terminal_that_has_gone_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody is told of it by SIGHUP, as under nohup, its descriptor is ready to read for ever."""
    gone: list[bool] = []
    monkeypatch.setattr(app_module, "is_seen", lambda stream: True)
    monkeypatch.setattr(app_module, "HANG_UP_SECONDS", 0.01)
    monkeypatch.setattr(app_module, "has_hung_up", lambda number: bool(gone))

    async def talk(world: World, pilot: "Pilot[None]") -> None:
        await pilot.pause(0.1)
        assert world.app.is_running
        gone.append(True)
        async with asyncio.timeout(10):
            while world.app.is_running:
                await asyncio.sleep(0.01)

    assert use(monkeypatch, talk).app.return_code == 0


def test_keys_that_come_all_at_once_mean_what_they_would_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(world: World, pilot: "Pilot[None]") -> None:
        def type_ahead(*keys: str) -> None:
            for key in keys:
                world.app.post_message(Key(key, key if len(key) == 1 else None))

        type_ahead("slash", *"curl", "enter", "e")
        await until(pilot, lambda: world.app.pane.display and world.app.view.text)
        await until(pilot, lambda: world.app.view.text == "curl")
        assert world.app.focused is world.app.table
        type_ahead("slash", *"xq", "escape", "v")
        await until(pilot, lambda: world.app.view.kind == "process")
        await pilot.pause()
        assert world.app.view.text == ""

    use(monkeypatch, talk)


def words_of(picture: str) -> str:
    """Return what is written in a picture, a line each."""
    rows: dict[str, list[str]] = {}
    for place, words in re.findall(r'<text [^>]*\by="([\d.]+)"[^>]*>(.*?)</text>', picture):
        rows.setdefault(place, []).append(html.unescape(words).replace("\xa0", " "))
    return "\n".join("".join(parts).rstrip() for parts in rows.values())


def test_picture_in_the_docs_is_what_is_drawn() -> None:
    """But for the flows' ages, which are those of the moment."""
    spec = importlib.util.spec_from_file_location("top_picture", ROOT / "packaging" / "top_picture.py")
    assert spec is not None
    assert spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    drawn, shown = (
        [line for line in words_of(text).splitlines() if not re.match(r" *\d+ +\d+ [smh] ", line)]
        for text in (asyncio.run(drawing.draw()), (ROOT / "docs" / "top.svg").read_text())
    )
    assert drawn == shown
    assert any(line.startswith("flow 2: tcp to video.example:443 goes through") for line in shown)
