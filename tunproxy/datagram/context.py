"""What all carriers of one table share."""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.decisions import Decisions
from tunproxy.datagram.ear import Ear
from tunproxy.datagram.icmp_sender import IcmpSender
from tunproxy.datagram.joiner import Joiner
from tunproxy.datagram.kept import KeptTotal
from tunproxy.datagram.outlet import Outlet
from tunproxy.datagram.path import Path
from tunproxy.datagram.receiver import Receiver
from tunproxy.datagram.room import Room
from tunproxy.datagram.watching import note_end
from tunproxy.flow.counters import Counters
from tunproxy.flow.life import EVICTED, IDLE
from tunproxy.flow.ports import FlowWatcher, FrameSink, Poller
from tunproxy.flow.targets import Targets
from tunproxy.wire.icmp_error import quote_datagram
from tunproxy.wire.ip import Endpoints

if TYPE_CHECKING:
    from tunproxy.datagram.association import Association
    from tunproxy.datagram.proxied import ProxiedWay
    from tunproxy.datagram.undecided import Undecided

# our choices
MAX_PATHS: Final[i64] = 16_384  # some 700 octets each
MAX_OF_SOURCE: Final[i64] = 2048  # associations of one client address: half of what a table usually has
FAIR_SHARE: Final[i64] = 512  # a client address with more than that gives way when the table is full


@final
@mypyc_attr(native_class=True)
class Context:
    """The ways out and the dictionaries: carriers by client, paths by client and target."""

    def __init__(
        self,
        sink: FrameSink,
        poller: Poller,
        targets: Targets,
        counters: Counters,
        udp_timeout: Micros,
        mtu: i64,
        has_uso4: bool,
        has_uso6: bool,
        max_associations: i64,
        decisions: Decisions,
        has_service: bool = False,
        watcher: FlowWatcher | None = None,
    ) -> None:
        self.poller: Final = poller
        self.watcher: Final = watcher
        self.targets: Final = targets
        self.counters: Final = counters
        self.udp_timeout: Final = udp_timeout
        self.outlet: Final = Outlet(sink, mtu, has_uso4, has_uso6)
        self.icmp: Final = IcmpSender(sink, self.outlet.scratch, counters)
        self.decisions: Final = decisions
        self._has_service: Final = has_service
        self.receiver: Final = Receiver()
        self.joiner: Final = Joiner(self.outlet)
        self.kept: Final = KeptTotal()
        self.room: Final = Room(poller, counters, max_associations, MAX_OF_SOURCE, FAIR_SHARE)
        self.associations: Final[dict[bytes, Association]] = {}
        self.ways: Final[dict[bytes, ProxiedWay]] = {}
        self.undecided: Final[dict[bytes, Undecided]] = {}
        self.paths: Final[dict[bytes, Path]] = {}
        self.ears: Final[dict[str, Ear]] = {}

    def asks_first(self) -> bool:
        """Tell whether a client's first datagram to a target is looked at, whoever wrote to it before."""
        return self._has_service or not self.decisions.is_static

    def ear_for(self, upstream: str) -> Ear:
        """Return what listens to an upstream; all its ways share it."""
        ear = self.ears.get(upstream)
        if ear is None:
            ear = Ear()
            self.ears[upstream] = ear
        return ear

    def remember(self, path: Path) -> None:
        """Make path findable from both sides; the oldest is forgotten, and made again when it is needed."""
        if len(self.paths) >= MAX_PATHS:
            self.forget(next(iter(self.paths.values())), EVICTED)
        self.paths[path.key] = path
        path.carrier.paths[path.name] = path

    def forget(self, path: Path, reason: str = IDLE) -> None:
        """Undo remember; reason is why, for people."""
        if path.life is not None:
            note_end(self, path.life, reason)
            path.life = None
        self.paths.pop(path.key, None)
        peers = path.carrier.paths
        if peers.get(path.name) is path:
            del peers[path.name]

    def refuse(self, ends: Endpoints, payload: bytes, error: int, now: Micros) -> None:
        """Tell the client that a datagram did not get there; ends are those of frames that answer it."""
        self.icmp.refuse(ends, quote_datagram(self.outlet.scratch, ends, payload), error, now)
