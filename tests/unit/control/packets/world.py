"""A worker's packet path without a network, whose flows a test makes; and the packets of such flows."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from librt.strings import BytesWriter

from tests.unit.loop.rig import CLIENT, TARGET, Rig
from tunproxy import clock
from tunproxy.control.packets.shipping import Record, Records
from tunproxy.decide.recent import RecentFlows
from tunproxy.flow.life import FlowLife
from tunproxy.flow.verdict import DIAL, FlowInfo, Verdict
from tunproxy.wire.ip import TCP, Endpoints
from tunproxy.wire.tcp import emit_tcp

SYN, ACK, FIN = 2, 0x10, 1


class Owner:
    """A process."""

    def __init__(self, name: str = "curl") -> None:
        self.name, self.path, self.uid = name, f"/usr/bin/{name}", 1000
        self.cgroup = self.unit = self.app = None
        self.why = ""


class Processes:
    """Knows whose flows are, once ``known`` is set."""

    def __init__(self) -> None:
        self.known = asyncio.Event()

    def look(self, *flow: Any) -> Owner | None:
        return None

    async def search(self, *flow: Any) -> Owner:
        await self.known.wait()
        return Owner()


class Lives:
    """Stands for both tables: finds the lives that a test has put there, by key."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, FlowLife] = {}
        self.icmp: list[FlowLife] = []

    def life_of(self, key: bytes) -> FlowLife | None:
        return self.by_key.get(key)

    def pings(self) -> list[FlowLife]:
        return self.icmp


class World:
    """recent is told of flows that end; lives are those that there are."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.recent = RecentFlows(10)
        self.lives: Any = Lives()

    def begin(
        self, port: int = 80, *, protocol: str = "tcp", name: str = "", verdict: Verdict | None = None
    ) -> FlowLife:
        info = FlowInfo(protocol, CLIENT, 40000, TARGET, port)
        info.name = name
        info.name_from = "dns" if name else ""
        life = FlowLife(
            self.recent.number(), info, verdict or Verdict(DIAL, "direct", why="default"), clock.now()
        )
        self.lives.by_key[key(port)] = life
        return life

    def end(self, life: FlowLife, reason: str = "closed") -> None:
        life.reason = reason
        life.ended_at = clock.now()
        self.lives.by_key.pop(key(int(life.info.target_port)), None)
        self.recent.closed(life)


@contextmanager
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.rig.close()


def key(port: int) -> bytes:
    """Return addresses and ports of the packets that flow_frame makes for a client."""
    return CLIENT + TARGET + (40000).to_bytes(2, "big") + port.to_bytes(2, "big")


def flow_frame(port: int = 80, flags: int = ACK, payload: bytes = b"", *, is_up: bool = True) -> bytes:
    """Return the frame of a TCP segment between CLIENT's port 40000 and a port of TARGET."""
    ends = (
        Endpoints(CLIENT, TARGET, 40000, port, TCP) if is_up else Endpoints(TARGET, CLIENT, port, 40000, TCP)
    )
    out = BytesWriter()
    emit_tcp(out, ends, 1000, 1, flags, 65535, 0, 0, len(payload))
    header = out.getvalue()
    return header + payload


def records_of(sock: socket.socket, reader: Records | None = None) -> list[Record]:
    """Return what can be read from a stream of records now; reader is for one of which more comes."""
    sock.setblocking(False)
    reader = reader or Records()
    found: list[Record] = []
    while True:
        try:
            data = sock.recv(1 << 20)
        except BlockingIOError:
            return found
        if not data:
            return found
        found += reader.feed(data)
