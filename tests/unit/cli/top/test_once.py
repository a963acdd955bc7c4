"""The table for who has no terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.top.told import WALL, look, row
from tunproxy.cli.top import once
from tunproxy.cli.top.columns import Moment
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.once import describe, look_twice
from tunproxy.cli.top.view import View
from tunproxy.errors import TunproxyError

LOOKS = [
    look(10, row(1, process="curl", began=WALL - 5), has_more=True),
    look(10, row(2, process="日本", began=WALL - 5)),
    look(11, octets=((1, 0, 1500),)),
]


def watching(monkeypatch: pytest.MonkeyPatch, looks: list[dict[str, Any]]) -> None:
    def watch(path: Path, seconds: float) -> Iterator[dict[str, Any]]:
        yield from looks
        raise AssertionError("these looks are enough")

    monkeypatch.setattr(once, "watch_flows", watch)


def test_table_has_rates_of_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    watching(monkeypatch, LOOKS)
    flows = LiveFlows()
    look_twice(Path("/x"), 1.0, flows)
    at = Moment(flows.look, WALL)
    assert describe(View(flows), 30, at).splitlines() == [
        "flow  age  state  process  target             upstream    down/s  up/s    down   up  rule",
        "   1  5 s  open   curl     tcp 192.0.2.1:443  direct    1.5 kB/s     -  1.5 kB  0 B  default",
        "   2  5 s  open   日本     tcp 192.0.2.1:443  direct           -     -     0 B  0 B  default",
        "2 open, 1.5 kB/s down, - up",
    ]
    assert describe(View(flows), 1, at).splitlines()[-1].startswith("1 of 2 shown; 2 open")
    assert describe(View(flows, text="nobody"), 30, at) == "2 open, 1.5 kB/s down, - up"
    assert describe(View(flows, kind="process"), 30, at).splitlines()[1].startswith("curl ")


def test_second_look_that_comes_at_once_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who look all look at the same moments: the first one may be a moment before that."""
    watching(monkeypatch, [LOOKS[1], look(10.03), look(11.03, octets=((2, 0, 2000),))])
    flows = LiveFlows()
    look_twice(Path("/x"), 1.0, flows)
    assert flows.passed == pytest.approx(1.0)
    lines = describe(View(flows), 30, Moment(flows.look, WALL)).splitlines()
    assert lines[-1] == "1 open, 2.0 kB/s down, - up"


def test_one_that_cannot_be_understood_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    watching(monkeypatch, [{"seconds": 1}])
    with pytest.raises(TunproxyError, match=r"^cannot show what /x answers: "):
        look_twice(Path("/x"), 1.0, LiveFlows())
