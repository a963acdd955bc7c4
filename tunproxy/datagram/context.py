"""What all associations of one table share."""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.icmp_sender import IcmpSender
from tunproxy.datagram.outlet import Outlet
from tunproxy.datagram.path import Path
from tunproxy.datagram.receiver import Receiver
from tunproxy.datagram.room import Room
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import FrameSink, Poller
from tunproxy.flow.targets import Targets

if TYPE_CHECKING:
    from tunproxy.datagram.association import Association

# our choices
MAX_PATHS: Final[i64] = 16_384  # some 700 octets each
MAX_OF_SOURCE: Final[i64] = 2048  # associations of one client address: half of what a table usually has
FAIR_SHARE: Final[i64] = 512  # a client address with more than that gives way when the table is full


@final
@mypyc_attr(native_class=True)
class Context:
    """The ways out and the two dictionaries: associations by client, paths by client and target."""

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
    ) -> None:
        self.poller: Final = poller
        self.targets: Final = targets
        self.counters: Final = counters
        self.udp_timeout: Final = udp_timeout
        self.outlet: Final = Outlet(sink, mtu, has_uso4, has_uso6)
        self.icmp: Final = IcmpSender(sink, self.outlet.scratch, counters)
        self.receiver: Final = Receiver()
        self.room: Final = Room(poller, max_associations, MAX_OF_SOURCE, FAIR_SHARE)
        self.associations: Final[dict[bytes, Association]] = {}
        self.paths: Final[dict[bytes, Path]] = {}

    def remember(self, path: Path) -> None:
        """Make path findable from both sides; the oldest is forgotten, and made again when it is needed."""
        if len(self.paths) >= MAX_PATHS:
            self.forget(next(iter(self.paths.values())))
        self.paths[path.key] = path
        path.association.paths[path.name] = path

    def forget(self, path: Path) -> None:
        """Undo remember."""
        self.paths.pop(path.key, None)
        peers = path.association.paths
        if peers.get(path.name) is path:
            del peers[path.name]
