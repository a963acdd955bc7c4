"""When the kill switch stays and when it goes."""

from typing import cast

import pytest

from tunproxy.control import kill_switch as module
from tunproxy.control.kill_switch import PUT_BACK, KillSwitchKeeper
from tunproxy.control.rescue import HOLDS
from tunproxy.errors import SystemChangeError
from tunproxy.host.changes import Changes
from tunproxy.host.kill_switch import KillSwitch
from tunproxy.host.netlink import Netlink

NET = cast(Netlink, object())


class FakeSwitch:
    """A kill switch that is only a word."""

    def __init__(self, log: list[str], error: str = "") -> None:
        self.log, self.error, self.stopped = log, error, 5

    def apply(self, net: Netlink) -> None:
        if self.error:
            raise SystemChangeError(self.error)
        self.log.append("put")

    def revert(self, net: Netlink) -> None:
        self.log.append("undone")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether one of an earlier run is there; as it is emptied, it was lifted."""
    found: list[bool] = []
    monkeypatch.setattr(module, "is_held", lambda _: bool(found))
    monkeypatch.setattr(module, "lift", lambda _: bool(found and found.pop()))
    return found


def run(*, is_wanted: bool, was_asked: bool, error: str = "") -> tuple[list[str], KillSwitchKeeper]:
    log: list[str] = []
    changes = Changes(NET)
    keeper = KillSwitchKeeper(is_wanted=is_wanted)
    keeper.look(NET)
    try:
        switch = cast(KillSwitch, FakeSwitch(log, error)) if is_wanted else None
        keeper.put(switch, NET, changes)
        keeper.was_asked_to_stop = was_asked
    except SystemChangeError:
        log.append("refused")
    keeper.end(changes)
    return log, keeper


def test_it_is_undone_by_who_asks_us_to_stop_and_else_stays(held: list[bool]) -> None:
    log, keeper = run(is_wanted=True, was_asked=True)
    assert log == ["put", "undone"]
    assert keeper.words == PUT_BACK
    log, keeper = run(is_wanted=True, was_asked=False)
    assert log == ["put"]
    assert keeper.words == HOLDS
    assert keeper.document() == {"kill_switch": {"is_on": True, "refused": 5}}


def test_it_is_undone_where_it_could_not_be_put_unless_it_was_there_before(held: list[bool]) -> None:
    log, _ = run(is_wanted=True, was_asked=False, error="no nftables")
    assert log == ["refused", "undone"]
    held.append(True)
    log, _ = run(is_wanted=True, was_asked=False, error="no nftables")
    assert log == ["refused"]


def test_one_of_an_earlier_run_is_undone_where_there_is_to_be_none(held: list[bool]) -> None:
    held.append(True)
    log, keeper = run(is_wanted=False, was_asked=False)
    assert (log, held) == ([], [])
    assert keeper.notes == ["the kill switch of an earlier run is undone, as there is to be none now"]
    assert keeper.words == PUT_BACK
    assert run(is_wanted=False, was_asked=False)[1].notes == []
