"""Flows as the stream tells of them, and their rates."""

import pytest

from tests.unit.cli.top.told import look, row
from tunproxy.cli.top import flows as flows_module
from tunproxy.cli.top.flows import LINGER, LiveFlows
from tunproxy.control.flow_filter import parse_filter


def known(*told: dict[str, object]) -> LiveFlows:
    flows = LiveFlows()
    for each in told:
        flows.take(each)
    return flows


def shown(flows: LiveFlows) -> list[int]:
    return [flow.number for flow in flows.flows()]


def test_first_look_has_no_rates() -> None:
    flows = known(look(10, row(1, octets_up=5, octets_down=7), octets=((1, 5, 7),)))
    flow = flows.find(1)
    assert flow is not None
    assert (flow.up, flow.down, flow.rate_up, flow.rate_down) == (5, 7, 0, 0)
    assert (list(flows.up), flows.open, flows.begun) == ([], 1, 0)


def test_rates_are_of_the_time_between_two_looks() -> None:
    flows = known(look(10, row(1)), look(12, octets=((1, 200, 1000), (9, 1, 1))))
    flow = flows.find(1)
    assert flow is not None
    assert (flow.rate_up, flow.rate_down, list(flows.up), list(flows.down)) == (100, 500, [100], [500])
    flows.take(look(13, octets=((1, 250, 1000),)))
    assert (flow.rate_up, flow.rate_down, list(flows.up)) == (50, 0, [100, 50])
    flows.take(look(14))
    assert (flow.rate_up, flow.rate_down, list(flows.up)) == (0, 0, [100, 50, 0])
    assert flow.rates(flows.look, 5) == [0, 0, 600, 50, 0]
    assert flow.rates(flows.look, 2) == [50, 0]


def test_new_flow_has_the_rate_of_all_that_it_has_carried() -> None:
    flows = known(look(10), look(11, row(1, octets_up=30), octets=((1, 30, 0),)))
    flow = flows.find(1)
    assert flow is not None
    assert (flow.rate_up, flows.begun, list(flows.up)) == (30, 1, [30])
    flows.take(look(12, row(1, octets_up=30, process="curl")))  # its process has been found
    assert (flow.process, flow.rate_up, flows.begun) == ("curl", 0, 1)


def test_parts_of_a_look_are_one_look() -> None:
    flows = LiveFlows()
    assert not flows.take(look(10, row(1), has_more=True))
    assert flows.take(look(10, row(2), octets=((1, 1, 1), (2, 2, 2))))
    assert (shown(flows), list(flows.up), flows.look) == ([2, 1], [], 1)
    flows.take(look(11, octets=((1, 11, 1),), has_more=True))
    flows.take(look(11, octets=((1, 16, 1), (2, 7, 2))))  # another worker's part, and then again the first's
    found = flows.find(1), flows.find(2)
    assert [flow.rate_up for flow in found if flow is not None] == [15, 5]
    assert list(flows.up) == [20]


def test_what_is_over_stays_a_while_and_is_remembered() -> None:
    over = row(1, state="closed", reason="reset by client", octets_up=4, octets_down=9, rule="MATCH,direct")
    flows = known(look(10, row(1), row(2)), look(11, over))
    flow = flows.find(1)
    assert flow is not None
    assert (flow.is_over, flow.reason, flow.rate_down, shown(flows)) == (True, "reset by client", 9, [2, 1])
    assert flows.before == {("?", "MATCH,direct", "direct"): [1, 4, 9]}
    flows.take(look(11 + LINGER))
    assert shown(flows) == [2, 1]
    flows.take(look(11.1 + LINGER))
    assert (shown(flows), flows.find(1)) == ([2], None)


def test_flow_that_was_over_before_anybody_looked_is_shown() -> None:
    flows = known(look(10), look(11, row(5, state="closed", reason="refused", octets_up=3)))
    assert (shown(flows), flows.open, list(flows.up)) == ([5], 0, [3])


def test_gone_flows_are_over() -> None:
    flows = known(look(10, row(1), row(2)), look(11, gone=(2, 77)))
    assert (flows.open, [flow.is_over for flow in flows.flows()]) == (1, [False, True])


def test_not_too_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows_module, "MOST_BEFORE", 2)
    flows = known(look(10))
    many = [row(number, state="closed", process=f"p{number}") for number in range(flows_module.MOST_OVER + 9)]
    flows.take(look(11, *many))
    assert len(shown(flows)) == flows_module.MOST_OVER
    assert [owner[0] for owner in flows.before] == ["p207", "p208"]


def test_another_tunproxy_has_other_flows() -> None:
    flows = known(look(10, row(1, process="a")), look(11, octets=((1, 5, 5),)))
    flows.forget()
    assert (shown(flows), flows.open) == ([], 0)
    flows.take(look(3, row(1, process="b", octets_up=9), octets=((1, 9, 0),)))  # its clock is its own
    assert list(flows.up) == [5]
    assert flows.before == {("a", "default", "direct"): [1, 5, 5]}


def test_text_is_fit_for_a_terminal_and_for_filters() -> None:
    flows = known(look(1, row(1, name="shop\x1b.example", process="Curl\x07", uid=7, rule="MATCH,A\nB")))
    flow = flows.find(1)
    assert flow is not None
    assert (flow.target, flow.process, flow.rule) == ("tcp shop?.example:443", "Curl?", "MATCH,A?B")


def test_filter_is_asked_anew_when_something_has_changed() -> None:
    flows = known(look(1, row(1)))
    flow = flows.find(1)
    assert flow is not None
    curl, tcp = parse_filter("process:curl"), parse_filter("tcp")
    assert [flow.fits(each) for each in (curl, curl, tcp, curl)] == [False, False, True, False]
    flows.take(look(2, row(1, process="curl")))
    assert flow.fits(curl)


@pytest.mark.parametrize("wrong", [{}, {"seconds": "x"}, look(1) | {"rows": [{}]}, look(1) | {"octets": [7]}])
def test_nonsense_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        LiveFlows().take(wrong)
