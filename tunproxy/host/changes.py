"""Changes of the host's network configuration, and the list that undoes them."""

from abc import ABC, abstractmethod
from typing import ClassVar

from tunproxy.errors import SystemChangeError
from tunproxy.host.netlink import Netlink


class Change(ABC):
    """One thing that is different on the host while we run. what it is, in a word or two, is for people."""

    what: ClassVar[str] = "a change"
    is_of_firewall: ClassVar[bool] = False  # made by nftables, and undone by who flushes these

    @abstractmethod
    def apply(self, net: Netlink) -> None:
        """Make the change; when it is made already, do nothing. Raises SystemChangeError."""

    def mend(self, net: Netlink) -> bool:
        """Make again what somebody else has undone since apply; return whether anything was.

        Raises SystemChangeError.
        """
        return False

    @abstractmethod
    def revert(self, net: Netlink) -> None:
        """Undo what apply did, or as much of it as is still there. Raises SystemChangeError."""


class Changes:
    """Applies changes in order and reverts them in the opposite order."""

    def __init__(self, net: Netlink) -> None:
        self._net = net
        self._applied: list[Change] = []

    def apply(self, change: Change) -> None:
        """Apply change; remembered even when it fails, because it may have been made in part."""
        self._applied.append(change)
        change.apply(self._net)

    @property
    def applied(self) -> tuple[Change, ...]:
        """What has been applied and not been reverted."""
        return tuple(self._applied)

    def revert(self) -> list[str]:
        """Revert everything that was applied; return a line for each change that could not be reverted."""
        problems = []
        while self._applied:
            try:
                self._applied.pop().revert(self._net)
            except SystemChangeError as error:
                problems.append(str(error))
        return problems
