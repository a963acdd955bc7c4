"""Flows put together."""

from tests.unit.cli.top.told import look, row
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.groups import Group, grouped


def some() -> LiveFlows:
    flows = LiveFlows()
    flows.take(look(10, row(1, process="curl"), row(2, process="git", rule="X,work", chain="work"), row(3)))
    flows.take(
        look(
            11,
            row(4, process="curl", state="closed", octets_up=1),
            octets=((1, 10, 20), (2, 30, 40)),
            gone=(3,),
        )
    )
    return flows


def test_flows_are_put_together_by_process() -> None:
    flows = some()
    found = {group.name: group for group in grouped(flows.flows(), "process", flows.before)}
    assert found["curl"] == Group("curl", open=1, over=1, up=11, down=20, rate_up=11, rate_down=20)
    assert found["git"] == Group("git", open=1, over=0, up=30, down=40, rate_up=30, rate_down=40)
    assert found["?"] == Group("?", over=1)
    flows.take(look(100))
    again = {group.name: group for group in grouped(flows.flows(), "process", flows.before)}
    assert again["curl"] == Group("curl", open=1, over=1, up=11, down=20)


def test_only_these_flows_where_it_does_not_matter_what_was_before() -> None:
    flows = some()
    found = {group.name: group for group in grouped(flows.flows(), "rule")}
    assert (found["default"].open, found["default"].over, found["default"].up) == (1, 2, 11)
    assert {group.name for group in grouped(flows.flows(), "upstream")} == {"direct", "work"}
