"""Packets of capture files, pcap and pcapng: raw, behind Ethernet, or as Linux cooks them.

dpkt knows how blocks and headers look; which interface of a pcapng file a packet is of, and where a file is
cut off, is looked after here. Whatever the octets are, a packet is yielded or the file is refused.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final  # Any: dpkt's blocks

import dpkt  # type: ignore[import-untyped]
import dpkt.pcap  # type: ignore[import-untyped]
import dpkt.pcapng  # type: ignore[import-untyped]

from tunproxy.errors import ConfigError

# https://www.tcpdump.org/linktypes.html
NULL: Final = 0
ETHERNET: Final = 1
RAW: Final = 101
LOOP: Final = 108
COOKED: Final = 113
IPV4: Final = 228
IPV6: Final = 229
COOKED_2: Final = 276
LINK_TYPES: Final = frozenset({NULL, ETHERNET, 12, 14, RAW, LOOP, COOKED, IPV4, IPV6, COOKED_2})

_VLANS: Final = frozenset({0x8100, 0x88A8, 0x9100})
_IP: Final = frozenset({0x0800, 0x86DD})
_PCAP: Final = frozenset({b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1"})
_NANOSECONDS: Final = frozenset({b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1"})
_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"
_MAGIC_LITTLE: Final = b"\x4d\x3c\x2b\x1a"
_EPB_OCTETS: Final = 32  # of a block with a packet, without that
_COMMENT: Final = 1  # an option of any block
_RESOLUTION: Final = 9  # of an interface
_OFFSET: Final = 14

MAX_BLOCK: Final = 16 << 20  # our choice: no packet is larger


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet, the seconds since 1970 at which it passed, and what was written beside it."""

    at: float
    data: bytes
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Link:
    """What packets of one interface begin with, and how their times are counted."""

    kind: int
    ticks: float = 1e6  # a second
    offset: int = 0


class CaptureFile:
    """A capture to read once, from the beginning. Raises ConfigError where it is none."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.cut_after = -1  # packets that were there before the file broke off; -1 where it did not
        self.others = 0  # packets of other kinds than IP
        try:
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115
            self.size: Final = path.stat().st_size
            head = self._file.read(4)
            self._file.seek(0)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
        self._is_ng: Final = head == _PCAPNG
        if not self._is_ng and head not in _PCAP:
            self._file.close()
            raise self._refused("it is no capture (neither pcap nor pcapng)")

    def __enter__(self) -> "CaptureFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def at(self) -> int:
        """Return how many octets of the file have been read."""
        return self._file.tell()

    def packets(self) -> Iterator[Packet]:
        """Yield the IP packets, in the order of the file. Raises ConfigError where it is none after all."""
        count = 0
        try:
            for link, at, data, comments in self._blocks() if self._is_ng else self._records():
                packet = ip_packet(link, data)
                if packet:
                    yield Packet(at, packet, comments)
                else:
                    self.others += 1
                count += 1
        except dpkt.NeedData:
            self.cut_after = count
        except (ValueError, struct.error, dpkt.UnpackError, OverflowError) as error:
            raise self._refused(f"{error or 'it is broken'} (after {count} packets)") from error
        except OSError as error:
            raise self._refused((error.strerror or str(error)).lower()) from error

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(f"cannot read {self.path}: {why}")

    def _records(self) -> Iterator[tuple[int, float, bytes, tuple[str, ...]]]:
        """Yield what a pcap file holds."""
        head = self._file.read(dpkt.pcap.FileHdr.__hdr_len__)
        if len(head) < dpkt.pcap.FileHdr.__hdr_len__:
            raise ValueError("it ends within its header")
        magic = dpkt.pcap.FileHdr(head).magic
        is_little = head[:1] in (b"\xd4", b"\x4d")
        kind = int((dpkt.pcap.LEFileHdr if is_little else dpkt.pcap.FileHdr)(head).linktype) & 0xFFFF
        self._check(kind)
        record = dpkt.pcap.MAGIC_TO_PKT_HDR[magic]
        ticks = 1e9 if head[:4] in _NANOSECONDS else 1e6
        while octets := self._file.read(record.__hdr_len__):
            told = record(octets)  # which says where it is cut off
            if told.caplen > MAX_BLOCK:
                raise ValueError("a packet is larger than any can be")
            data = self._file.read(told.caplen)
            if len(data) < told.caplen:
                raise dpkt.NeedData
            yield kind, told.tv_sec + told.tv_usec / ticks, data, ()

    def _blocks(self) -> Iterator[tuple[int, float, bytes, tuple[str, ...]]]:
        """Yield what a pcapng file holds (draft-ietf-opsawg-pcapng)."""
        links: list[_Link] = []
        order = "<"
        while head := self._file.read(8):
            if head[:4] == _PCAPNG:
                magic = self._file.read(4)
                if len(magic) < 4:
                    raise dpkt.NeedData
                order = "<" if magic == _MAGIC_LITTLE else ">"
                links = []
                head += magic
            if len(head) < 8:
                raise dpkt.NeedData
            kind, length = struct.unpack(f"{order}II", head[:8])
            if not 12 <= length <= MAX_BLOCK or length % 4:
                raise ValueError(f"a block of {length} octets")
            block = head + self._file.read(length - len(head))
            if len(block) < length:
                raise dpkt.NeedData
            is_little = order == "<"
            if kind == dpkt.pcapng.PCAPNG_BT_IDB:
                links.append(_link(_parsed(dpkt.pcapng.InterfaceDescriptionBlock, block, is_little), order))
                self._check(links[-1].kind)
            elif kind == dpkt.pcapng.PCAPNG_BT_EPB:
                found = _parsed(dpkt.pcapng.EnhancedPacketBlock, block, is_little)
                if found.iface_id >= len(links):
                    raise ValueError(f"there is no interface {found.iface_id}")
                if found.caplen > length - _EPB_OCTETS:
                    raise ValueError("a packet is larger than its block")
                link = links[found.iface_id]
                at = link.offset + ((found.ts_high << 32) | found.ts_low) / link.ticks
                yield link.kind, at, bytes(found.pkt_data), _comments(found)

    def _check(self, kind: int) -> None:
        if kind not in LINK_TYPES:
            raise ValueError(f"link type {kind} is none that we read (raw IP, Ethernet, Linux cooked)")


def ip_packet(link: int, data: bytes) -> bytes:
    """Return the IP packet in what an interface of a link type has seen, b"" where there is none."""
    at = 0
    if link in (NULL, LOOP):
        at = 4
    elif link == ETHERNET:
        at = _behind_vlans(data, 12)
    elif link == COOKED:
        at = _behind_vlans(data, 14)
    elif link == COOKED_2:
        at = 20 if int.from_bytes(data[:2], "big") in _IP else len(data)
    packet = data[at:]
    return packet if packet and packet[0] >> 4 in (4, 6) else b""


def _behind_vlans(data: bytes, at: int) -> int:
    """Return where the packet behind the EtherType at that octet begins, the end where it is not IP."""
    while len(data) >= at + 2:
        kind = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if kind in _IP:
            return at
        if kind not in _VLANS:
            break
        at += 2
    return len(data)


def _parsed(kind: Any, block: bytes, is_little: bool) -> Any:
    """Return dpkt's view of a block; one that is whole and lacks octets is broken, not cut off."""
    try:
        return (getattr(dpkt.pcapng, f"{kind.__name__}LE") if is_little else kind)(block)
    except dpkt.NeedData as error:
        raise ValueError("a block contradicts itself") from error


def _link(block: Any, order: str) -> _Link:
    ticks, offset = 1e6, 0
    for option in block.opts:
        if option.code == _RESOLUTION and option.data:
            power = option.data[0]
            ticks = float((2 if power & 0x80 else 10) ** min(power & 0x7F, 64))
        elif option.code == _OFFSET and len(option.data) >= 8:
            offset = struct.unpack(f"{order}q", option.data[:8])[0]
    return _Link(int(block.linktype), ticks, offset)


def _comments(block: Any) -> tuple[str, ...]:
    return tuple(
        bytes(option.data).decode(errors="replace") if not isinstance(option.data, str) else option.data
        for option in block.opts
        if option.code == _COMMENT
    )
