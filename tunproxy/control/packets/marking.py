"""Which flows a capture wants, and what it says of them, as far as that is known by now.

A packet comes before its flow does: the first one is shown when it has just been read. So a mark is unsure
at first, and looked at again until its flow is decided and, where the filter or the comment needs it, its
process is known.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from tunproxy import clock
from tunproxy.control.flow_filter import FlowFilter
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.packets import words
from tunproxy.control.packets.keys import Ends, PacketKeys, ends_of
from tunproxy.control.packets.rows import PROTOCOLS, Row, row_by_now, row_without_flow
from tunproxy.datagram.table import DatagramTable
from tunproxy.decide.recent import RecentFlows
from tunproxy.flow.life import FlowLife
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.loop.copying import UNSURE, UNWANTED, WANTED, Copier, Mark, Marker
from tunproxy.wire.ip import ICMP, ICMPV6, TCP, UDP

# our choices
LINGER: Final = 5_000_000  # µs for which a TCP flow's last acknowledgments are still its own
MOST_OPEN: Final = 64  # marks that are looked at again in one turn, 15 us each
MOST_ALIVE: Final = 1024

_log: Final = logging.getLogger(__name__)


class FlowMarker(Marker):
    """Marks for one capture; copier is to be set at once. For the loop only."""

    def __init__(
        self,
        chosen: FlowFilter,
        tcp: TcpTable,
        datagrams: DatagramTable,
        recent: RecentFlows,
        owners: OwnerSearch | None,
        is_ours: Callable[[Ends], bool] = lambda ends: True,
    ) -> None:
        """owners None knows nobody's; is_ours tells whether this worker has what is to do with these ends."""
        super().__init__()
        self.copier: Copier | None = None
        self._chosen: Final = chosen
        self._tcp: Final = tcp
        self._datagrams: Final = datagrams
        self._recent: Final = recent
        self._owners: Final = owners
        self._is_ours: Final = is_ours
        self._keys: Final = PacketKeys()
        self._pings: dict[bytes, Mark] = {}
        self._open: Final[deque[tuple[int, Mark]]] = deque()  # that are not settled, and when we met them
        self._alive: Final[deque[Mark]] = deque()  # settled, with a flow

    def __len__(self) -> int:
        """Return how many flows, or what stands for one, there are marks of."""
        return len(self._open) + len(self._alive)

    def meet(self, frame: bytes, is_up: bool) -> Mark:
        try:
            return self._meet(frame, is_up)
        except Exception:  # ours: must not end the packet path
            _log.exception("a packet could not be looked at for a capture")
            mark = Mark(0, b"")
            mark.wanted = UNWANTED
            return mark

    def _meet(self, frame: bytes, is_up: bool) -> Mark:
        copier = self.copier
        ends = self._keys.ends(frame, is_up)
        if ends is None or copier is None:
            mark = Mark(0, b"")
            mark.is_settled = True
            mark.wanted = UNWANTED if self._chosen.text else WANTED  # no filter, no packet left out
            return mark
        found = self._find(copier, ends)
        if found is not None and (found.life is None or found.life.ended_at < 0):
            if found.life is None:
                self._attach(found, self._life_of(ends))
            return found
        mark = Mark(ends.protocol, ends.key)
        self._attach(mark, self._life_of(ends))
        self._open.append((int(clock.now()), mark))
        if ends.protocol in (ICMP, ICMPV6):
            self._pings[ends.key] = mark
        else:
            copier.know(mark)
        return mark

    def look_again(self) -> None:
        """Settle some of what can be settled, and forget what is over and has no packet that waits."""
        now = int(clock.now())
        some = [self._open.popleft() for _ in range(min(len(self._open), MOST_OPEN))]
        self._find_lives(some)
        if self._owners is not None:
            lives = [mark.life for _, mark in some if mark.life is not None and mark.protocol in (TCP, UDP)]
            self._owners.search(lives, len(self))
        for met_at, mark in some:
            self._settle(mark)
            if not mark.is_settled:
                self._open.append((met_at, mark))
            elif mark.life is not None:
                self._alive.append(mark)
            else:
                self._forget(mark)
        for _ in range(min(len(self._alive), MOST_ALIVE)):
            mark = self._alive.popleft()
            if not self._is_gone(mark, now):
                self._alive.append(mark)

    def comments(self, mark: Mark) -> tuple[str, str]:
        """Return what is to be said beside the next packet of a mark, and of its end; "" for nothing.

        Call it for a packet that is wanted, when it is no longer among those that wait.
        """
        life = mark.life
        is_over = life is not None and life.ended_at >= 0 and not mark.waiting and not mark.is_over_said
        if not mark.key or (mark.is_said and not is_over):
            return "", ""
        row = self._row(mark)
        said = words.beginning(row)
        first = said if said != mark.said else ""
        mark.said = said
        mark.is_said = mark.is_settled
        mark.is_over_said = mark.is_over_said or is_over
        return first, words.end(row) if is_over else ""

    def name(self, mark: Mark) -> tuple[bytes, str] | None:
        """Return an address, and the name that the flow's client means by it; None for no name."""
        life = mark.life
        return (life.info.target, life.info.name) if life is not None and life.info.name else None

    def _find(self, copier: Copier, ends: Ends) -> Mark | None:
        if ends.protocol in (ICMP, ICMPV6):
            return self._pings.get(ends.key)
        return copier.find(ends.protocol, ends.key)

    def _life_of(self, ends: Ends) -> FlowLife | None:
        if ends.protocol == TCP:
            return self._tcp.life_of(ends.key)
        if ends.protocol == UDP:
            return self._datagrams.life_of(ends.key)
        for life in self._datagrams.pings():
            if life.info.client == ends.client and life.info.target == ends.target:
                return life
        return None

    def _attach(self, mark: Mark, life: FlowLife | None) -> None:
        if life is not None and mark.life is not life:
            mark.life = life
            mark.wanted = UNSURE
            self._judge(mark, self._row(mark))

    def _find_lives(self, some: Sequence[tuple[int, Mark]]) -> None:
        """Give flows to marks that have none yet, also such as are over already: refused ones, mostly."""
        lonely = {(mark.protocol, mark.key): mark for _, mark in some if mark.life is None}
        if not lonely:
            return
        for mark in lonely.values():
            self._attach(mark, self._life_of(ends_of(mark.protocol, mark.key)))
        since = min(met_at for met_at, mark in some)
        for life in self._recent.latest():
            if life.ended_at < since:
                break
            for name in _names(life):
                found = lonely.get(name)
                if found is not None and found.life is None:
                    self._attach(found, life)

    def _settle(self, mark: Mark) -> None:
        """Look at a mark again. Without a flow by now it has none: somebody here has answered, or nobody."""
        life = mark.life
        if life is None and not self._is_ours(ends_of(mark.protocol, mark.key)):
            mark.wanted, mark.is_settled = UNWANTED, True
            return
        row = self._row(mark)
        self._judge(mark, row)
        is_complete = "verdict" in row and "process" in row
        if mark.wanted == UNWANTED or is_complete or life is None:
            mark.is_settled = True
            if mark.wanted == UNSURE:
                mark.wanted = UNWANTED

    def _judge(self, mark: Mark, row: Row) -> None:
        if mark.wanted == UNSURE:
            found = self._chosen.judge(row)
            mark.wanted = UNSURE if found is None else WANTED if found else UNWANTED

    def _row(self, mark: Mark) -> Row:
        if mark.life is None:
            return row_without_flow(ends_of(mark.protocol, mark.key))
        return row_by_now(mark.life, self._owners)

    def _is_gone(self, mark: Mark, now: int) -> bool:
        life = mark.life
        if life is None or life.ended_at < 0 or mark.waiting:
            return False
        if mark.protocol == TCP and now - life.ended_at < LINGER:
            return False
        self._forget(mark)
        return True

    def _forget(self, mark: Mark) -> None:
        if self._pings.get(mark.key) is mark:
            del self._pings[mark.key]
        elif self.copier is not None:
            self.copier.forget(mark)


def _names(life: FlowLife) -> Sequence[tuple[int, bytes]]:
    """Return protocol and key of a flow, as marks have them."""
    info = life.info
    ports = int(info.client_port).to_bytes(2, "big") + int(info.target_port).to_bytes(2, "big")
    kinds = [kind for kind, text in PROTOCOLS.items() if text == info.protocol]
    return [(kind, info.client + info.target + ports) for kind in kinds]
