"""Counters of the packet path: plain numbers, read by whoever shows them."""

from typing import final

from mypy_extensions import i64, mypyc_attr

from tunproxy.wire.reasons import NAMES


@final
@mypyc_attr(native_class=True)
class Counters:
    """What happened since the start. drops is indexed by drop reason (see ``reasons``)."""

    def __init__(self) -> None:
        self.turns: i64 = 0  # of the packet path's loop
        self.frames_in: i64 = 0
        self.frames_out: i64 = 0
        self.bytes_in: i64 = 0
        self.bytes_out: i64 = 0
        self.flows_opened: i64 = 0
        self.flows_refused: i64 = 0
        self.flows_evicted: i64 = 0  # whose client had proved nothing, to make room
        self.associations_evicted: i64 = 0  # of UDP and ping, the longest idle, to make room
        self.cookies_sent: i64 = 0  # SYNs that were answered and forgotten
        self.cookies_accepted: i64 = 0
        self.cookies_refused: i64 = 0  # ACKs of no flow, while cookies were out, that bore none of ours
        self.retransmits: i64 = 0  # of flows that have ended
        self.memory_held: i64 = 0  # octets that flows hold, now
        self.memory_pressures: i64 = 0  # how often memory became short
        self.octets_reneged: i64 = 0  # that lay ahead of a gap, given up because memory was short
        self.drops: list[int] = [0] * len(NAMES)

    def drop(self, reason: i64) -> None:
        """Count one dropped packet."""
        self.drops[reason] += 1

    def drop_several(self, reason: i64, count: i64) -> None:
        """Count packets that were dropped together."""
        self.drops[reason] += int(count)

    def snapshot(self) -> dict[str, int]:
        """Return all counters by name; reasons that never occurred are left out."""
        found = {
            "turns": int(self.turns),
            "frames_in": int(self.frames_in),
            "frames_out": int(self.frames_out),
            "bytes_in": int(self.bytes_in),
            "bytes_out": int(self.bytes_out),
            "flows_opened": int(self.flows_opened),
            "flows_refused": int(self.flows_refused),
            "flows_evicted": int(self.flows_evicted),
            "associations_evicted": int(self.associations_evicted),
            "cookies_sent": int(self.cookies_sent),
            "cookies_accepted": int(self.cookies_accepted),
            "cookies_refused": int(self.cookies_refused),
            "retransmits": int(self.retransmits),
            "memory_held": int(self.memory_held),
            "memory_pressures": int(self.memory_pressures),
            "octets_reneged": int(self.octets_reneged),
        }
        for reason, count in enumerate(self.drops):
            if count:
                found["drop_" + NAMES[reason].replace("-", "_")] = count
        return found
