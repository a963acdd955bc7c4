"""What was recorded of a conversation: a capture of raw IP packets, and a few figures in ``index.json``.

The capture shows what reached our engine: the kernel's packets, whole. Of ours there is the first one, which
tells when we began. Packets that the path lost on their way to us are not in it.
"""

import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

import dpkt

from tests.sim.conversations import Conversation
from tests.sim.timeline import CLIENT, SERVER, Timeline
from tests.sim.world import Host, HostPlan
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.wire.ip import TCP, Endpoints
from tunproxy.wire.vnet import VNET_LEN

PLACE = Path(__file__).with_name("recorded")
INDEX = PLACE / "index.json"
LINKTYPE_RAW = 101
KERNEL = {False: bytes((10, 0, 0, 2)), True: bytes((0xFD, *bytes(14), 2))}
OURS = {False: bytes((192, 0, 2, 1)), True: bytes((0x20, 0x01, 0x0D, 0xB8, *bytes(11), 1))}
CLIENT_PORT, SERVER_PORT = 50000, 80
ISS, TS_OFFSET = 0xFFFF_F000, 0x1234_5678


@dataclass(frozen=True)
class Figures:
    """sent and sha256 are what the kernel's application handed to its kernel; received is what ours got."""

    sent: int
    sha256: str
    received: int
    closed: str
    refused: int  # packets that came damaged
    kernel: str


def our_host(
    timeline: Timeline, conversation: Conversation, *, cwnd: int = UNTHROTTLED, tso: bool = True
) -> Host:
    """Return our end of a conversation; its link is the caller's to set."""
    is_ipv6 = conversation.ipv6
    ports = (SERVER_PORT, CLIENT_PORT)
    if conversation.kernel_listens:
        ports = (CLIENT_PORT, SERVER_PORT)
    host_plan = HostPlan(
        app=conversation.ours,
        rcv_buf=conversation.rcv_buf,
        cwnd=cwnd,
        tso=tso,
        mtu=conversation.mtu,
        iss=ISS,
        ts_offset=TS_OFFSET,
        answer_after=conversation.answer_after,
        refuses=conversation.refuses,
    )
    ends = Endpoints(OURS[is_ipv6], KERNEL[is_ipv6], ports[0], ports[1], TCP)
    return Host(timeline, CLIENT if conversation.kernel_listens else SERVER, host_plan, ends)


class Capture:
    """A capture file that is being written; times are microseconds of a timeline."""

    def __init__(self, name: str) -> None:
        self._file = (PLACE / f"{name}.pcap").open("wb")
        header = dpkt.pcap.LEFileHdr(snaplen=1 << 18, linktype=LINKTYPE_RAW)
        self._file.write(bytes(header))

    def add(self, now: int, frame: bytes) -> None:
        """Write a frame's packet."""
        packet = frame[VNET_LEN:]
        size = len(packet)
        self._file.write(struct.pack("<IIII", now // 1_000_000, now % 1_000_000, size, size) + packet)

    def close(self) -> None:
        self._file.close()


def packets(name: str) -> list[tuple[int, bytes]]:
    """Return the kernel's packets of a capture and when they came."""
    with (PLACE / f"{name}.pcap").open("rb") as file:
        found = [(round(at * 1e6), packet) for at, packet in dpkt.pcap.Reader(file)]
    return [(at, packet) for at, packet in found if _source(packet) in KERNEL.values()]


def first_of_ours(name: str) -> int:
    """Return when we sent our first packet."""
    with (PLACE / f"{name}.pcap").open("rb") as file:
        for at, packet in dpkt.pcap.Reader(file):
            if _source(packet) in OURS.values():
                return round(at * 1e6)
    raise ValueError(f"{name}: nothing of ours")


def figures() -> dict[str, Figures]:
    """Return the figures of all recorded conversations."""
    return {name: Figures(**fields) for name, fields in json.loads(INDEX.read_text()).items()}


def save(found: dict[str, Figures]) -> None:
    text = json.dumps({name: asdict(found[name]) for name in sorted(found)}, indent=1)
    INDEX.write_text(text + "\n")


def _source(packet: bytes) -> bytes:
    """Return who sent a packet; one that was damaged in its first octet came from the kernel."""
    source = packet[8:24] if packet[0] >> 4 == 6 else packet[12:16]
    return source if source in OURS.values() else KERNEL[False]
