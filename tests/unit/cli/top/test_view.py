"""What is shown, and in which order."""

import pytest

from tests.unit.cli.top.told import look, row
from tunproxy.cli.top.flows import Flow, LiveFlows
from tunproxy.cli.top.groups import Group
from tunproxy.cli.top.view import View, key_of
from tunproxy.errors import ConfigError


def three() -> LiveFlows:
    flows = LiveFlows()
    flows.take(
        look(
            10,
            row(1, process="curl", name="b.example"),
            row(2, process="git", name="a.example", rule="X,work"),
            row(3, process="curl", name="c.example"),
        )
    )
    flows.take(look(11, octets=((2, 0, 50), (3, 70, 10))))
    return flows


def keys(view: View) -> list[str | int]:
    return [key_of(item) for item in view.items()]


def test_flows_are_shown_the_fastest_first() -> None:
    assert keys(View(three())) == [2, 3, 1]


def test_sorting_by_another_column_and_the_other_way_round() -> None:
    view = View(three(), sort="target")
    assert (keys(view), view.falls) == ([2, 1, 3], False)
    view.turn()
    assert keys(view) == [3, 1, 2]
    view.sort_by("up/s")
    assert (keys(view), view.falls) == ([3, 2, 1], True)  # those without a rate: the newest first
    view.sort_by("up/s")
    assert (keys(view), view.falls) == ([2, 1, 3], False)
    with pytest.raises(KeyError):
        view.sort_by("colour")
    with pytest.raises(KeyError):
        view.show("colour")
    with pytest.raises(KeyError):
        View(three(), kind="process", sort="target")


def test_each_kind_has_its_own_order() -> None:
    view = View(three(), sort="target")
    view.show("process")
    assert view.sort.title == "down/s"
    view.sort_by("process")
    assert keys(view) == ["curl", "git"]
    view.show("flow")
    assert view.sort.title == "target"


def test_filter_leaves_out_flows_and_what_was_before() -> None:
    flows = three()
    flows.take(look(12, row(1, process="curl", state="closed", octets_down=5)))
    flows.take(look(30))
    view = View(flows, kind="process")
    assert {item.name: (item.open, item.over) for item in view.items() if isinstance(item, Group)} == {
        "git": (1, 0),
        "curl": (1, 1),
    }
    view.look_for("process:curl")
    assert [(item.name, item.over) for item in view.items() if isinstance(item, Group)] == [("curl", 0)]
    with pytest.raises(ConfigError, match=r"^cannot use the filter 'port:'"):
        view.look_for("process:curl port:")
    assert (view.text, view.is_narrow, len(view.items())) == ("process:curl", True, 1)  # as it was
    view.look_for(" ")
    assert (len(view.items()), view.is_narrow) == (2, False)
    with pytest.raises(ConfigError):
        View(flows, text="port:")


def test_group_is_entered() -> None:
    view = View(three(), kind="process")
    group = next(item for item in view.items() if item.name == "curl")  # type: ignore[union-attr]
    assert isinstance(group, Group)
    assert [flow.number for flow in view.flows_of(group)] == [3, 1]
    view.enter(group)
    assert (view.kind, view.within, keys(view), view.is_narrow) == ("flow", {"process": "curl"}, [3, 1], True)
    view.look_for("b.example")
    assert keys(view) == [1]
    view.show("rule")
    view.enter(Group("X,work"))
    assert keys(view) == []  # the rule has nothing of this process
    view.widen()
    assert (len(keys(view)), view.is_narrow) == (3, False)


def test_flows_of_what_is_over_are_none() -> None:
    flows = three()
    view = View(flows)
    flow = flows.find(1)
    assert isinstance(flow, Flow)
    assert view.flows_of(flow) == [flow]
    flows.take(look(12, gone=(1,)))
    assert view.flows_of(flow) == []
    view.show("process")
    assert [each.number for each in view.flows_of(Group("curl"))] == [3]
