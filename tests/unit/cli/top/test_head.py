"""The lines above the list."""

from tests.unit.cli.top.told import look, row
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.head import first_line, rates_line, view_line
from tunproxy.cli.top.view import View


def view() -> View:
    flows = LiveFlows()
    flows.take(look(10, row(1)))
    flows.take(look(11, octets=((1, 2000, 3_000_000),)))
    return View(flows)


def test_first_line_says_who_is_watched() -> None:
    line = first_line("tun0", "", view(), 1, 1234, 40)
    assert line == "tunproxy tun0  1 flow open       1/1,234"
    assert first_line("tun0", "", view(), 0, 0, 40).endswith(" none")
    assert len(first_line("tun0", "", view(), 1, 1, 10)) == 10


def test_first_line_says_what_is_wrong() -> None:
    line = first_line("tun0", "tunproxy has stopped", view(), 1, 1, 60)
    assert line.startswith("tunproxy has stopped; looking for it again  ")


def test_rates_line_says_and_draws_rates() -> None:
    line = rates_line(view().flows, 60)
    assert line == f"{'down   3.0 MB/s '.ljust(28)}█ {'up     2.0 kB/s '.ljust(28)}█ "
    assert rates_line(LiveFlows(), 40).split() == ["down", "-", "up", "-"]


def test_view_line_says_what_is_shown() -> None:
    shown = view()
    line = view_line(shown, 100, is_paused=False)
    assert line.rstrip() == "[1 flows]  2 processes   3 rules   4 upstreams   by down/s ▼"
    shown.show("rule")
    shown.turn()
    shown.look_for("curl")
    shown.within["process"] = "a program"
    assert "[3 rules]" in view_line(shown, 100, is_paused=True)
    assert (
        view_line(shown, 100, is_paused=True)
        .rstrip()
        .endswith("by down/s ▲  PAUSED  a program  filter: curl")
    )
