"""The kill switch of one run of ``up``: put last, and undone only by who asks us to stop.

However else we end, by an error, because workers cannot be kept alive, or by kill -9, it stays: the next
start takes it over, or undoes it where there is to be none any more; ``tunproxy rescue`` undoes it, too.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tunproxy.control.rescue import HOLDS
from tunproxy.control.serving import warn
from tunproxy.host.changes import Changes
from tunproxy.host.kill_switch import KillSwitch, is_held, lift
from tunproxy.host.netlink import Netlink

PUT_BACK: Final = "routes are put back"


class KillSwitchKeeper:
    """Part of ``status``, too."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted: Final = is_wanted
        self._switch: KillSwitch | None = None  # once it is there
        self._was_held = False  # by one that was killed
        self.was_asked_to_stop = False
        self.notes: Final[list[str]] = []  # for the user, once everything runs

    def look(self, net: Netlink) -> None:
        """Look whether there is one of an earlier run. Raises SystemChangeError."""
        self._was_held = is_held(net)

    def put(self, switch: KillSwitch | None, net: Netlink, changes: Changes) -> None:
        """Put it, or for None undo what is there of an earlier run. Raises SystemChangeError."""
        if switch is not None:
            changes.apply(switch)
            self._switch = switch
        elif self._was_held and lift(net):
            self.notes.append("the kill switch of an earlier run is undone, as there is to be none now")

    @property
    def stays(self) -> bool:
        """Whether it stays when we end now."""
        is_there = self._switch is not None or self._was_held
        return self._is_wanted and is_there and not self.was_asked_to_stop

    @property
    def words(self) -> str:
        """What becomes of the network when we end now, for people."""
        return HOLDS if self.stays else PUT_BACK

    def end(self, changes: Changes) -> None:
        """Revert changes, unless it stays: then they are what holds it."""
        if not self.stays:
            for problem in changes.revert():
                warn(problem)

    def document(self) -> Mapping[str, object]:
        """Return what ``status`` shows."""
        stopped = self._switch.stopped if self._switch is not None else 0
        return {"kill_switch": {"is_on": self._switch is not None, "refused": stopped}}

    def problems(self) -> Sequence[str]:
        return ()
