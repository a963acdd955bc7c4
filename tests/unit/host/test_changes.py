"""The list that applies and reverts changes; changes themselves are played here."""

import pytest

from tunproxy.errors import SystemChangeError
from tunproxy.host.changes import Change, Changes
from tunproxy.host.netlink import Netlink


class Note(Change):
    """Writes down what happens to it."""

    def __init__(self, name: str, notes: list[str], *, fails: tuple[str, ...] = ()) -> None:
        self.name, self.notes, self.fails = name, notes, fails

    def apply(self, net: Netlink) -> None:
        self._note("apply")

    def revert(self, net: Netlink) -> None:
        self._note("revert")

    def _note(self, what: str) -> None:
        self.notes.append(f"{what} {self.name}")
        if what in self.fails:
            raise SystemChangeError(f"cannot {what} {self.name}")


@pytest.fixture
def changes() -> Changes:
    return Changes(Netlink.__new__(Netlink))  # nobody uses it


def test_changes_are_reverted_in_the_opposite_order_and_once(changes: Changes) -> None:
    notes: list[str] = []
    for name in "abc":
        changes.apply(Note(name, notes))
    assert changes.revert() == []
    assert changes.revert() == []
    assert notes == ["apply a", "apply b", "apply c", "revert c", "revert b", "revert a"]


def test_change_that_fails_is_reverted_too(changes: Changes) -> None:
    notes: list[str] = []
    with pytest.raises(SystemChangeError):
        changes.apply(Note("a", notes, fails=("apply",)))
    changes.revert()
    assert notes == ["apply a", "revert a"]


def test_revert_that_fails_is_told_and_the_others_go_on(changes: Changes) -> None:
    notes: list[str] = []
    changes.apply(Note("a", notes))
    changes.apply(Note("b", notes, fails=("revert",)))
    assert changes.revert() == ["cannot revert b"]
    assert notes[-1] == "revert a"


def test_applied_are_those_that_were_not_reverted(changes: Changes) -> None:
    notes: list[str] = []
    made = [Note(name, notes) for name in "ab"]
    for each in made:
        changes.apply(each)
    assert changes.applied == tuple(made)
    assert not made[0].mend(Netlink.__new__(Netlink)), "who cannot tell mends nothing"
    changes.revert()
    assert changes.applied == ()
