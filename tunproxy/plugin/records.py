"""What plugins are told about flows after these have begun, and what they may look at."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from tunproxy.flow.verdict import FlowInfo

# our choice: what an observer sees of each direction unless it asks for more; headers fit in
OBSERVED: Final = 16_384


@dataclass(frozen=True, slots=True)
class FlowOpened:
    """A flow whose way is open: its client has been accepted.

    number is the flow's own in this run. at is in seconds since 1970. verdict is the kind ("dial",
    "converse", "open"), why what whoever decided gave as reason.
    """

    number: int
    info: FlowInfo
    upstream: str
    verdict: str
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class FlowClosed:
    """A flow that is over, or that never opened: then up and down are 0 and reason says why.

    at is in seconds since 1970, lasted in seconds. up is what the client sent and down what it got, in
    octets of payload. reason is for people: "closed", "reset by client", "refused".
    """

    number: int
    info: FlowInfo
    upstream: str
    at: float
    lasted: float
    up: int
    down: int
    reason: str


@dataclass(frozen=True, slots=True)
class StreamPiece:
    """Octets of one direction, in the clear; offset counts from the direction's first octet.

    Pieces of a direction come in order. Where offset is not where the last piece ended, we had no room
    to keep what is missing.
    """

    is_up: bool  # from the client
    offset: int
    data: bytes


class StreamObserver(ABC):
    """Looks at the octets of one flow. It gets copies, later: it can neither change nor delay anything.

    up and down say how many octets of each direction it wants: 0 none, -1 all.
    """

    def __init__(self, up: int = OBSERVED, down: int = OBSERVED) -> None:
        self.up: Final = up
        self.down: Final = down

    @abstractmethod
    def seen(self, piece: StreamPiece) -> None:
        """Take some octets. Called on the loop's thread: return within a millisecond and never block."""

    def ended(self, reason: str) -> None:  # noqa: B027  # most do not mind
        """Nothing follows: the flow is over, or the observer has seen all that it wants."""
