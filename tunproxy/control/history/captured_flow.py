"""One flow in a capture: what its packets say of it, and the entry that this makes."""

import ipaddress
import re
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.history.capture_file import Packet
from tunproxy.decide.sniff_datagrams import DatagramSniffer
from tunproxy.decide.sniffing import MAX_SNIFFED, Sniffed, sniff_stream
from tunproxy.rules.facts import Facts
from tunproxy.tcp.assembler import Assembler
from tunproxy.wire.ip import TCP, UDP

MAX_HELD: Final = 64 * 1024  # our choice: octets ahead of a gap

# what ``tunproxy capture`` writes beside a packet
_SAID: Final = re.compile(
    r"flow \d+: .*?; process (?P<name>[^;(]+?)"
    r"(?: \((?:(?P<path>/[^;]*?)(?:, |\)))?(?:user (?P<uid>\d+)\))?)?(?:;|$)"
)

Document = dict[str, Any]
Key = tuple[int, bytes, int, bytes, int]  # protocol, client and its port, target and its port


class CapturedFlow:
    """A flow, as far as it has been seen. begins is the sequence number of what its client says first."""

    def __init__(self, key: Key, at: float, facts: Facts, begins: int) -> None:
        self._key: Final = key
        self._facts: Final = facts
        self._began: Final = at
        self.last = at
        self.up = 0
        self.down = 0
        # whether what the client says has been understood, or need not be
        self.is_heard = key[0] not in (TCP, UDP)
        self._datagrams: Final = DatagramSniffer() if key[0] == UDP else None
        self._said = b""
        self.next = begins  # the sequence number of what the client says next
        self._ahead: Final = Assembler() if key[0] == TCP else None
        self._process: re.Match[str] | None = None

    def note(self, packet: Packet) -> None:
        """Note that a packet is the flow's, and what is written beside it."""
        self.last = max(self.last, packet.at)
        for comment in packet.comments:
            self._process = self._process or _SAID.match(comment)

    def hear(self, seq: int, data: bytes) -> None:
        """Take what a TCP client says, in whatever order it comes, until it is clear what it names."""
        assert self._ahead is not None
        ahead = seq - self.next & 0xFFFF_FFFF
        if ahead >= 0x8000_0000:  # it was sent again, perhaps with more
            known = 0x1_0000_0000 - ahead
            seq, data, ahead = self.next, data[known:], 0
        if not data or ahead > MAX_HELD:
            return
        self._ahead.insert(seq, data)
        while piece := self._ahead.take(self.next):
            self._said += piece
            self.next = self.next + len(piece) & 0xFFFF_FFFF
        if self._said:
            self._learn(sniff_stream(self._said))
            if len(self._said) >= MAX_SNIFFED:
                self.is_heard = True

    def hear_datagram(self, data: bytes) -> None:
        """Take what a UDP client says, until it is clear what it names."""
        if self._datagrams is not None:
            self._learn(self._datagrams.sniff(data))

    def _learn(self, found: Sniffed) -> None:
        if found.needs_more:
            return
        self.is_heard = True
        self._said = b""
        self._facts.host_asked = True
        if found.host and not self._facts.host:
            self._facts.host, self._facts.host_from = found.host, "sniffed"

    def entry(self) -> Document:
        """Return the flow as ``entry`` has those that were recorded; nobody has decided it."""
        _, client, client_port, target, target_port = self._key
        facts = self._facts
        told: Document = {
            "host": facts.host,
            "host_from": facts.host_from,
            "host_asked": facts.host_asked,
            "target": facts.target.hex(),
            "is_fake": False,
            "cannot": [],
        }
        process: Document = {}
        if self._process is not None:
            uid = self._process["uid"]
            process = {"name": self._process["name"].strip(), "path": self._process["path"]}
            told |= {
                "process_asked": True,
                "process_name": process["name"],
                "process_path": process["path"],
                "uid": int(uid) if uid else -1,
            }
        return {
            "began": self._began,
            "ended": self.last,
            "protocol": facts.network,
            "client": str(ipaddress.ip_address(client)),
            "client_port": client_port,
            "target": str(ipaddress.ip_address(target)),
            "target_port": target_port,
            "name": facts.host or None,
            "name_from": facts.host_from or None,
            "process": process,
            "rule": None,
            "way": None,
            "decided_by": "nobody",
            "up": self.up,
            "down": self.down,
            "facts": told,
        }
