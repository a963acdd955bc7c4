"""Columns, and which there is room for."""

import pytest

from tests.unit.cli.top.told import WALL, look, row
from tunproxy.cli.top.cells import width_of
from tunproxy.cli.top.columns import GAP, OF_FLOWS, Moment, layout, of_groups
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.groups import Group


@pytest.mark.parametrize("columns", [OF_FLOWS, of_groups("process")], ids=["flows", "groups"])
@pytest.mark.parametrize("width", [1, 10, 22, 40, 60, 79, 100, 140, 200])
def test_layout_fills_the_width(columns: tuple[object, ...], width: int) -> None:
    found = layout(columns, width)  # type: ignore[arg-type]
    assert sum(wide + GAP for _, wide in found) - GAP == width
    assert [column for column in columns if column in [each for each, _ in found]] == [
        column for column, _ in found
    ]


def test_layout_of_a_usual_terminal_has_what_matters_most() -> None:
    titles = [column.title for column, _ in layout(OF_FLOWS, 79)]
    assert titles == ["flow", "process", "target", "upstream", "down/s", "up/s"]
    assert [column.title for column, _ in layout(OF_FLOWS, 20)] == ["target"]
    assert len(layout(OF_FLOWS, 200)) == len(OF_FLOWS)


def test_texts_of_a_flow() -> None:
    flows = LiveFlows()
    flows.take(look(1, row(1, name="shop.example", process="curl", began=WALL - 90)))
    flows.take(look(2, octets=((1, 2000, 3000),)))
    flow = flows.find(1)
    at = Moment(flows.look, WALL)
    texts = {column.title: column.text(flow, at) for column in OF_FLOWS}
    assert {key: value for key, value in texts.items() if key != "lately"} == {
        "flow": "1",
        "age": "1 m",
        "state": "open",
        "process": "curl",
        "target": "tcp shop.example:443",
        "upstream": "direct",
        "down/s": "3.0 kB/s",
        "up/s": "2.0 kB/s",
        "down": "3.0 kB",
        "up": "2.0 kB",
        "rule": "default",
    }
    assert texts["lately"] == "█".rjust(width_of(texts["lately"]))
    flows.take(look(3, row(1, state="closed", reason="closed: idle", seconds=30.0)))
    over = {column.title: column.text(flow, at) for column in OF_FLOWS}
    assert (over["state"], over["age"], over["down/s"]) == ("closed: idle", "30 s", "closed: idle")


def test_texts_of_a_group() -> None:
    group = Group("curl", open=1234, over=5, up=1, down=2, rate_up=0, rate_down=7)
    assert [column.text(group, Moment()) for column in of_groups("process")] == [
        "curl", "1,234", "5", "7 B/s", "-", "2 B", "1 B",
    ]  # fmt: skip


def test_every_column_sorts_what_it_shows() -> None:
    flows = LiveFlows()
    flows.take(look(1, row(1), row(2, process="curl")))
    for column in OF_FLOWS:
        assert len(sorted(flows.flows(), key=column.key)) == 2
    for column in of_groups("rule"):
        assert len(sorted([Group("a"), Group("b")], key=column.key)) == 2
