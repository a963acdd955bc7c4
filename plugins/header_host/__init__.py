"""Sends flows where their host name says, and counts the Host headers that plain HTTP says in the clear."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tunproxy.plugin.api import (
    FlowInfo,
    Route,
    StreamObserver,
    StreamPiece,
    Upstream,
    Verdict,
    hookimpl,
)

HEAD = 8192  # octets in which a request's Host header stands, as most servers demand
MOST = 1000  # names that are counted; a scanner makes up any number of them


@dataclass(frozen=True)
class Options:
    """hosts maps patterns of names to upstreams; count says whether to look into plain HTTP."""

    hosts: Mapping[str, str] = field(default_factory=dict)
    count: bool = False


counts: Counter[str] = Counter()


@hookimpl
def contribute_options() -> type:
    """The fields of ``[plugins.header_host]``."""
    return Options


@hookimpl
def decide_flow(info: FlowInfo, upstreams: Mapping[str, Upstream], options: Options) -> Verdict | None:
    """Send a flow whose name is known to the upstream of the first pattern that it matches."""
    if info.name:
        for pattern, upstream in options.hosts.items():
            if fnmatchcase(info.name.lower(), pattern.lower()):
                return upstreams[upstream].verdict_for(info, f"header_host {pattern}")
    return None


@hookimpl
def observe_flow(info: FlowInfo, options: Options) -> StreamObserver | None:
    """Look at the first request of plain HTTP."""
    return HostReader() if options.count and info.target_port == 80 else None


@hookimpl
def contribute_routes() -> list[Route]:
    """Contribute ``GET /plugins/header_host``: how often each name was asked for."""
    return [Route("GET", "", show_counts)]


async def show_counts(request: Any) -> dict[str, int]:
    """Return the names, the most frequent first."""
    return dict(counts.most_common())


class HostReader(StreamObserver):
    """Finds the Host header of a flow's first request (RFC 9112 §3.2)."""

    def __init__(self) -> None:
        super().__init__(up=HEAD, down=0)
        self.head = b""

    def seen(self, piece: StreamPiece) -> None:
        if piece.offset != len(self.head):
            return  # a gap: what follows may be anything
        self.head += piece.data

    def ended(self, reason: str) -> None:
        head = self.head.partition(b"\r\n\r\n")[0]
        for line in head.split(b"\r\n")[1:]:
            name, colon, value = line.partition(b":")
            host = value.strip().decode("latin-1").lower()
            if colon and name.lower() == b"host" and host:
                if host in counts or len(counts) < MOST:
                    counts[host] += 1
                return
