"""One target of one carrier, and the datagrams to it that wait for the end of the batch.

Datagrams of equal size leave the host as one send, which the kernel cuts again (UDP_SEGMENT). They are
gathered while a batch of frames is read from the device, and never wait for more than that.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.flow.life import FlowLife
from tunproxy.wire.ip import Endpoints

if TYPE_CHECKING:
    from tunproxy.datagram.carrier import Carrier

MAX_SEGMENTS: Final[i64] = 64  # UDP_MAX_SEGMENTS of Linux 4.18 to 6.8; later ones take 128

# our choice: what one send carries at most, under the 65507 octets of a datagram over IPv4
MAX_GATHERED: Final[i64] = 65_000


@final
@mypyc_attr(native_class=True)
class Path:
    """key is the client's and the target's address and port as they stand in a frame; name is the carrier's.

    ends are those of the frames that answer: from the target, as the client knows it, to the client.
    """

    def __init__(
        self, key: bytes, name: bytes, address: tuple[str, int], ends: Endpoints, carrier: "Carrier"
    ) -> None:
        self.key: Final = key
        self.name: Final = name
        self.address: Final = address
        self.ends: Final = ends
        self.carrier: Final = carrier
        self.host: str = ""  # the name to go to instead of the target, through a proxy
        self.life: FlowLife | None = None  # where somebody watches
        self.header: bytes = b""  # what a proxy wants in front of each datagram
        self.is_listed: bool = False  # in the table's list of paths to flush
        self.parts: list[bytes] = []
        self.unit: i64 = 0  # size of every gathered datagram but the last
        self.total: i64 = 0
        self.traits: i64 = 0
        self.is_full: bool = False

    def takes(self, size: i64, traits: i64) -> bool:
        """Tell whether a datagram of size octets may join those that wait, of which there is at least one."""
        return (
            not self.is_full
            and 0 < size <= self.unit
            and traits == self.traits
            and self.total + size <= MAX_GATHERED
        )

    def add(self, payload: bytes, size: i64, traits: i64) -> None:
        """Append a datagram that takes() accepts, or the first one."""
        parts = self.parts
        if self.total == 0 and len(parts) == 0:
            self.unit = size
            self.traits = traits
            self.is_full = size == 0
        parts.append(payload)
        self.total += size
        if size < self.unit or len(parts) == MAX_SEGMENTS:
            self.is_full = True

    def clear(self) -> None:
        """Forget what was gathered, which has been sent."""
        self.parts = []
        self.total = 0
        self.is_full = False
