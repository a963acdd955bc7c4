"""Questions for names that leave past us: counted by the kernel, and told by ``status``.

That nobody leaks is not believed but counted (``host.leak_table``). Where that is not possible, ``status``
says so and why. Who asks inside HTTPS, or at another port, is not seen.
"""

import contextlib
import dataclasses
import pwd
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

from tunproxy.control.serving import tell
from tunproxy.errors import SystemChangeError
from tunproxy.host.leak_table import PORTS, Leak, LeakTable
from tunproxy.host.scope import Scope

MAX_TOLD: Final = 5  # our choice: leaks that a sentence is made of, the largest


class LeakCounter:
    """Counts while ``counting`` lasts, unless why_not says why that makes no sense.

    tun, uid, mark, spared and scope are those of ``LeakTable``.
    """

    def __init__(
        self,
        tun: str,
        *,
        uid: int,
        mark: int = 0,
        spared: Collection[str] = (),
        scope: Scope | None = None,
        why_not: str = "",
    ) -> None:
        self._tun: Final = tun
        self._uid: Final = uid
        self._mark: Final = mark
        self._spared = tuple(spared)
        self._scope: Final = dataclasses.replace(
            scope or Scope(), dns_except=()
        )  # who is spared, we are told
        self._table: LeakTable | None = None
        self._why_not: Final = why_not
        self.why = why_not or "counting has not begun"  # why nothing is counted; "" where it is

    @contextlib.asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Count within the context, where that is possible; never raises."""
        self._begin()
        try:
            yield
        finally:
            if self._table is not None:
                self._table.close()
                self._table = None
            self.why = "counting has ended"

    def _begin(self) -> None:
        try:
            if not self._why_not:
                self._table = LeakTable(
                    self._tun, uid=self._uid, mark=self._mark, spared=self._spared, scope=self._scope
                )
                self.why = ""
        except SystemChangeError as error:
            self.why = str(error)
            tell(f"questions for names that leave past us are not counted: {error}")

    def spare(self, spared: Collection[str]) -> None:
        """Count anew, but for these resolvers, where they are others than before. Never raises."""
        if tuple(spared) == self._spared:
            return
        self._spared = tuple(spared)
        if self._table is not None:
            self._table.close()
            self._table = None
            self._begin()

    def restart(self) -> None:
        """Count from now on: what was before is no leak. Never raises."""
        if self._table is not None:
            try:
                self._table.restart()
            except SystemChangeError as error:
                self.why = str(error)

    def document(self) -> dict[str, object]:
        """Return what ``status`` shows; counts are packets."""
        leaks = self._read()
        by_way: dict[str, dict[str, int]] = {}
        for leak in leaks:
            ways = by_way.setdefault(leak.interface, {})
            way = f"{leak.protocol}/{leak.port}"
            ways[way] = ways.get(way, 0) + leak.packets
        return {
            "is_counted": not self.why,
            "why": self.why,
            "packets": sum(leak.packets for leak in leaks),
            "interfaces": by_way,
            "users": [_user(leak) for leak in leaks],
        }

    def problems(self) -> list[str]:
        """Return what somebody should look at, a sentence each."""
        leaks = self._read()
        return [in_words(leaks)] if leaks else []

    def _read(self) -> list[Leak]:
        if self._table is None:
            return []
        try:
            found = self._table.read()
        except SystemChangeError as error:
            self.why = str(error)
            return []
        self.why = ""
        return found


def in_words(leaks: Sequence[Leak]) -> str:
    """Return a sentence about leaks, of which there are some."""
    total = sum(leak.packets for leak in leaks)
    told = [
        f"{leak.packets:,} by {user_name(leak.uid)} over {leak.interface} ({PORTS.get(leak.port, 'port')}, "
        f"{leak.protocol}/{leak.port})"
        for leak in leaks[:MAX_TOLD]
    ]
    more = ["others"] if len(leaks) > MAX_TOLD else []
    packets = "1 packet" if total == 1 else f"{total:,} packets"
    return f"{packets} that asked for names left past us: {', '.join([*told, *more])}"


def user_name(uid: int) -> str:
    """Return the name of a user, or else the number as words."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _user(leak: Leak) -> dict[str, object]:
    return {
        "uid": leak.uid,
        "user": user_name(leak.uid),
        "interface": leak.interface,
        "way": f"{leak.protocol}/{leak.port}",
        "packets": leak.packets,
    }
