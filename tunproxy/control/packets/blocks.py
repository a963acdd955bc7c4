"""The blocks of one capture file, made of what workers ship, and counted against what was wished for."""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final  # Any: documents, as JSON has them

from tunproxy.control.packets import pcapng, shipping
from tunproxy.version import describe

MAX_NAMES: Final = 100_000  # our choice: that are remembered to be in the file


@dataclass(frozen=True)
class Wish:
    """What somebody wants to have captured; a bound of 0 is none. seconds, size is in octets of the file."""

    filter_text: str = ""
    snaplen: int = shipping.MAX_SNAPLEN
    count: int = 0
    seconds: float = 0.0
    size: int = 0


class FileBlocks:
    """Makes the blocks of the file that wish is of; workers is how many ship packets."""

    def __init__(self, wish: Wish, workers: int) -> None:
        self._wish: Final = wish
        self._workers: Final = workers
        self._names: Final[set[tuple[bytes, str]]] = set()
        self._began: Final = time.time_ns()
        self.packets = 0
        self.octets = 0

    def is_full(self) -> bool:
        """Return whether the file has as many packets, or octets, as were wished for."""
        wish = self._wish
        return bool(wish.count and self.packets >= wish.count) or bool(wish.size and self.octets >= wish.size)

    def head(self, told: Mapping[str, Any]) -> bytes:
        """Return how the file begins; told is what a worker says of itself."""
        policy = told.get("policy") or {}
        said = [
            describe(),
            f"configuration {policy.get('source') or 'built in'}, generation {policy.get('generation')}, "
            f"{policy.get('rules')} rules, default {policy.get('default')}",
            f"{self._workers} workers" if self._workers > 1 else "1 worker",
            f"filter {self._wish.filter_text}" if self._wish.filter_text else "no filter",
        ]
        system = f"{platform.system()} {platform.release()}"
        section = pcapng.section("; ".join(said), system, describe().partition(" (")[0])
        name = str(told.get("device", "tun"))
        about = f"TUN device of tunproxy, mtu {told.get('mtu')}, offload {told.get('offload')}"
        snaplen = self._wish.snaplen
        return self._counted(section + pcapng.interface(name, about, snaplen, self._wish.filter_text, system))

    def block(self, place: int, record: shipping.Packet | shipping.Name) -> bytes:
        """Return the block of what the worker of a place ships; none for a name that is in the file."""
        if isinstance(record, shipping.Name):
            known = (record.address, record.name)
            if known in self._names:
                return b""
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            self._names.add(known)
            return self._counted(pcapng.names([known]))
        self.packets += 1
        made = pcapng.packet(
            record.at,
            record.data,
            record.length,
            flags=pcapng.OUTBOUND if record.is_up else pcapng.INBOUND,
            comments=record.comments,
            lost=record.lost,
            queue=place if self._workers > 1 else -1,
        )
        return self._counted(made)

    def statistics(self, seen: int, lost: int, deaths: int) -> bytes:
        """Return how the file ends: packets that were wanted, lost ones among them, and workers that died."""
        said = f"{lost} packets were lost: not taken fast enough" if lost else "no packet was lost"
        if deaths:
            said += f"; workers died meanwhile: {deaths}, and what they had not shipped is missing"
        seen = max(seen, self.packets + lost)
        made = pcapng.statistics(self._began, time.time_ns(), seen, lost, self.packets, said)
        return self._counted(made)

    def _counted(self, octets: bytes) -> bytes:
        self.octets += len(octets)
        return octets
