"""Lets plugins look at the octets of flows that they chose: copies, later, and never too many.

The packet path asks once per flow for a ``StreamTap``. Most flows have none. Where there is one, it hands
over octets while ``up_left`` or ``down_left`` say that somebody wants them; the observers see them from the
loop, within a hundredth of a second.
"""

from collections.abc import Callable, Iterable
from typing import Final

from tunproxy.flow.tap import Tap
from tunproxy.flow.verdict import FlowInfo
from tunproxy.plugin.events import Later
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.records import StreamObserver, StreamPiece

# our choices
DELAY_SECONDS: Final = 0.01
MAX_PENDING: Final = 1 << 20  # octets of one flow that wait to be looked at

ALL: Final = -1


class Observers:
    """The plugins that observe flows. later is as for ``FlowEvents``; has_any says whether to ask at all."""

    def __init__(self, plugins: Plugins, later: Later) -> None:
        self._hooks: Final = plugins.hooks("observe_flow")
        self._ledger: Final = plugins.ledger
        self._later: Final = later
        self._due: list[StreamTap] = []
        self.has_any: Final = bool(self._hooks)

    def tap(self, info: FlowInfo) -> "StreamTap | None":
        """Return what takes a new flow's octets, None where nobody wants them. Never blocks or raises."""
        watchers = []
        for hook in self._hooks:
            offered = {"info": info}
            observer = self._ledger.ask(hook, offered, _observer, deed="observe", about=info)
            if observer is not None:
                watchers.append(_Watcher(hook.plugin, observer, info, self._ledger))
        return StreamTap(watchers, self._on_due) if watchers else None

    def flush(self) -> None:
        """Have the observers see what has come together; called on the loop."""
        due, self._due = self._due, []
        for tap in due:
            tap.show()

    def _on_due(self, tap: "StreamTap") -> None:
        if not self._due:
            self._later(DELAY_SECONDS, self.flush)
        self._due.append(tap)


class StreamTap(Tap):
    """Takes the octets of one flow. up_left and down_left: how many are still wanted, ALL for no end."""

    def __init__(self, watchers: "list[_Watcher]", on_due: "Callable[[StreamTap], None]") -> None:
        super().__init__()
        self._watchers: list[_Watcher] = watchers
        self._on_due: Final = on_due
        self.up_left = _most(each.up for each in watchers)
        self.down_left = _most(each.down for each in watchers)
        self._offsets: Final = [0, 0]  # down, up
        self._pending: list[StreamPiece] = []
        self._size = 0
        self._is_due = False
        self._reason: str | None = None

    def take(self, is_up: bool, data: bytes | memoryview) -> None:
        """Copy what is wanted of data, the next octets of a direction. Never blocks or raises."""
        left = self.up_left if is_up else self.down_left
        offset = self._offsets[is_up]
        self._offsets[is_up] = offset + len(data)
        wanted = len(data) if left == ALL else min(left, len(data))
        if not wanted:
            return
        if left != ALL:
            if is_up:
                self.up_left = left - wanted
            else:
                self.down_left = left - wanted
        if self._size + wanted > MAX_PENDING:
            return  # the next piece's offset tells of it
        self._pending.append(StreamPiece(is_up, offset, bytes(data[:wanted])))
        self._size += wanted
        self._call_later()

    def close(self, reason: str) -> None:
        """Say that the flow is over. Observers see first what came before."""
        self._reason = reason
        self._call_later()

    def show(self) -> None:
        """Have the observers see what is pending."""
        self._is_due = False
        pieces, self._pending, self._size = self._pending, [], 0
        for piece in pieces:
            self._watchers = [each for each in self._watchers if each.sees(piece)]
        if self._reason is not None:
            for each in self._watchers:
                each.ends(self._reason)
            self._watchers = []
        if not self._watchers:
            self.up_left = self.down_left = 0

    def _call_later(self) -> None:
        if not self._is_due and self._watchers:
            self._is_due = True
            self._on_due(self)


class _Watcher:
    """One observer of one flow, and where it stops looking. Positions, not counts: pieces may be lost."""

    def __init__(self, plugin: str, observer: StreamObserver, info: FlowInfo, ledger: Ledger) -> None:
        self.up: Final = observer.up
        self.down: Final = observer.down
        self._info: Final = info
        self._ledger: Final = ledger
        self._is_done: Final = [self.down == 0, self.up == 0]
        self._seen: Final = Hook(plugin, _told(observer.seen), ("piece",), "observe_flow")
        self._ended: Final = Hook(plugin, _told(observer.ended), ("reason",), "observe_flow")

    def sees(self, piece: StreamPiece) -> bool:
        """Show a piece as far as it is wanted; return whether there may be more to see."""
        limit = self.up if piece.is_up else self.down
        if limit != ALL:
            if piece.offset + len(piece.data) >= limit:
                self._is_done[piece.is_up] = True
            if piece.offset >= limit:
                return not all(self._is_done)
            if piece.offset + len(piece.data) > limit:
                piece = StreamPiece(piece.is_up, piece.offset, piece.data[: limit - piece.offset])
        if not self._ask(self._seen, {"piece": piece}):
            return False
        if all(self._is_done):
            self.ends("seen")
            return False
        return True

    def ends(self, reason: str) -> None:
        self._ask(self._ended, {"reason": reason})

    def _ask(self, hook: Hook, offered: dict[str, object]) -> bool:
        """Return whether the observer took it well."""
        return bool(self._ledger.ask(hook, offered, bool, deed="observe", about=self._info))


def _most(limits: Iterable[int]) -> int:
    """Return the largest of the limits, of which ALL is the largest."""
    found = list(limits)
    return ALL if ALL in found else max(found)


def _told(function: Callable[..., object]) -> Callable[..., object]:
    """Return function with an answer: to the ledger, None would be what a fault is."""

    def tell(what: object) -> object:
        function(what)
        return True

    return tell


def _observer(answer: object) -> StreamObserver:
    if not isinstance(answer, StreamObserver):
        raise TypeError(f"{answer!r} is no stream observer")
    for limit in (answer.up, answer.down):
        if not isinstance(limit, int) or limit < ALL:
            raise ValueError(f"{limit!r} is no number of octets (0 none, -1 all)")
    return answer
