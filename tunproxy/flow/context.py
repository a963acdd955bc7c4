"""What all TCP flows of one stack share."""

from collections import deque
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.budget import Budget
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import FlowWatcher, FrameSink, Opener, Poller
from tunproxy.flow.small_reads import LARGE, SmallReads
from tunproxy.flow.verdict import FlowInfo, Verdict

if TYPE_CHECKING:
    from tunproxy.flow.tcp_flow import TcpFlow


@mypyc_attr(native_class=True)
class Dispatcher:
    """Sends a flow where its verdict says: what the table does for flows that are decided late."""

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        """Return the verdict, None if more of the client's octets are needed; see ``Decider``."""
        raise NotImplementedError

    def send_off(self, flow: "TcpFlow", info: FlowInfo, verdict: Verdict, now: Micros) -> None:
        """Dial, ask, converse or refuse, as verdict says."""
        raise NotImplementedError


@final
@mypyc_attr(native_class=True)
class FlowContext:
    """The ways out, the table, and what is counted over all flows."""

    def __init__(
        self,
        sink: FrameSink,
        poller: Poller,
        counters: Counters,
        opener: Opener,
        budget: Budget,
        dispatcher: Dispatcher,
        watcher: FlowWatcher | None = None,
    ) -> None:
        self.sink: Final = sink
        self.poller: Final = poller
        self.counters: Final = counters
        self.opener: Final = opener
        self.budget: Final = budget
        self.dispatcher: Final = dispatcher
        self.watcher: Final = watcher
        self.flows: Final[dict[bytes, TcpFlow]] = {}
        self.touched: list[TcpFlow] = []  # got segments in this batch, not settled yet
        self.embryos: Final[dict[bytes, TcpFlow]] = {}  # the client has proved nothing yet, oldest first
        self.live: i64 = 0  # flows that hold a descriptor
        self.small_reads: Final = SmallReads(LARGE)
        self.waiting: Final[deque[TcpFlow]] = deque()  # in TIME-WAIT or just out of it, oldest first
