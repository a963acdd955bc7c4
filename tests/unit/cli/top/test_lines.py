"""The lines of the list."""

from tests.unit.cli.top.told import look, row
from tunproxy.cli.top.flows import Flow, LiveFlows
from tunproxy.cli.top.lines import Lines
from tunproxy.cli.top.view import View


def shown() -> tuple[View, Lines, Flow]:
    flows = LiveFlows()
    flows.take(look(10, row(1, process="curl", name="shop.example")))
    flow = flows.find(1)
    assert flow is not None
    view = View(flows)
    return view, Lines(view), flow


def test_titles_and_items_stand_in_the_same_columns() -> None:
    _, lines, flow = shown()
    titles, line = lines.titles(79), lines.line(flow, 79)
    assert (len(titles), len(line)) == (79, 79)
    for title, text in (("process", "curl"), ("target", "tcp shop.example:443"), ("upstream", "direct")):
        assert titles.index(title) == line.index(text)
    assert line.startswith("     1 ")


def test_title_that_sorts_is_marked() -> None:
    view, lines, _ = shown()
    assert "▼down/s" in lines.titles(79)
    view.turn()
    assert "▲down/s" in lines.titles(79)
    view.show("process")
    assert lines.titles(79).startswith("process  ")


def test_column_is_found_by_its_place() -> None:
    _, lines, _ = shown()
    found = [lines.column_at(x, 79) for x in (0, 6, 7, 78, 79, 200)]
    assert [column.title if column else None for column in found] == [
        "flow",
        "flow",
        "process",
        "up/s",
        "up/s",
        None,
    ]
