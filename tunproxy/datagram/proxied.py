"""One client's UDP port and the way through a proxy that stands for it.

    OPENING   somebody opens the way; what the client sends meanwhile is kept
    OPEN      there is a link, behind which the proxy is
    FAILED    it could not be opened; for a moment nobody tries again, and clients are told so at once
    CLOSED    over: the next datagram asks for another way

How datagrams go through an open way is the link's (``link``); here is what becomes of the way and its paths.
"""

import errno
import socket
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.carrier import MAX_PATHS, Carrier, count_datagrams
from tunproxy.datagram.context import Context
from tunproxy.datagram.kept import Kept
from tunproxy.datagram.link import Link
from tunproxy.datagram.path import Path
from tunproxy.datagram.sources import Sources
from tunproxy.datagram.tally import Tally
from tunproxy.datagram.timeouts import idle_limit
from tunproxy.datagram.watching import note_open
from tunproxy.datagram.way_request import WayRequest
from tunproxy.flow.life import EVICTED, IDLE, not_reached
from tunproxy.flow.ports import DatagramRequest, Opener
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.wire.ip import UDP, Endpoints
from tunproxy.wire.reasons import REJECTED, TABLE_FULL, WAITING_FULL

OPENING: Final[i64] = 0
OPEN: Final[i64] = 1
FAILED: Final[i64] = 2
CLOSED: Final[i64] = 3
WEIGHT: Final[i64] = 2  # descriptors: its socket, and the stream that keeps it

_ECONNREFUSED: Final = errno.ECONNREFUSED
_EMFILE: Final = errno.EMFILE
_ENFILE: Final = errno.ENFILE

# our choice
RETRY_AFTER: Final[Micros] = 1_000_000  # µs after a failure


@final
@mypyc_attr(native_class=True)
class ProxiedWay(Carrier):
    """The way that verdict's upstream opens; limit is how long it may be idle, to begin with.

    Its paths are known by their keys, as headers are only known once it is open.
    """

    def __init__(
        self,
        context: Context,
        opener: Opener,
        key: bytes,
        client: bytes,
        client_port: i64,
        verdict: Verdict,
        limit: Micros,
        now: Micros,
    ) -> None:
        super().__init__(key, client, limit, now)
        self.weight = WEIGHT
        self.is_open = False
        self.state: i64 = OPENING
        self.is_new: bool = True
        self.error: int = 0  # what clients are told once it is no more, 0 for nothing
        self.sources: Final = Sources(client, client_port, context.counters)
        self.tally: Final = Tally(self.paths)
        self.context: Final = context
        self._opener: Final = opener
        self._verdict: Final = verdict  # its opener is part of our key, by its address
        self._client_port: Final = client_port
        self._kept: Final = Kept(context.kept)
        self._request: DatagramRequest | None = None
        self._info: FlowInfo | None = None  # the flow that began it
        self._link: Link | None = None  # while it is open
        context.ways[key] = self
        context.room.enter(self)

    @property
    def upstream(self) -> str:
        """The name of the upstream that it leads through."""
        return self._verdict.upstream

    # the way

    def begin(self, info: FlowInfo) -> None:
        """Have it opened, at once or later."""
        self.is_new = False
        self._info = info
        request = WayRequest(self)
        self._request = request
        self._opener.open_datagrams(info, self._verdict, request)

    def open_path(self, key: bytes, info: FlowInfo) -> Path:
        """Return a new path to the target of this flow."""
        ends = Endpoints(info.target, self.client, info.target_port, self._client_port, UDP)
        path = Path(key, key, ("", 0), ends, self)
        path.host = info.host
        known = self.paths.get(key)
        if known is not None:
            self.context.forget(known)
        if len(self.paths) >= MAX_PATHS:
            self.context.forget(next(iter(self.paths.values())), EVICTED)
        self.context.remember(path)
        self.idle_limit = max(self.idle_limit, idle_limit(info.target_port, self.context.udp_timeout))
        self.sources.expect(path)
        link = self._link
        if link is not None:
            link.add(path)
        return path

    def on_opened(self, link: Link, now: Micros) -> None:
        """Use the way, which leads through link."""
        self.state = OPEN
        self.is_open = True
        self.used_at = now
        self._link = link
        for path in list(self.paths.values()):
            link.add(path)
            if path.life is not None:
                note_open(self.context, path.life, now)
        kept = self._kept.take()
        link.begin(now)
        for sent in kept:  # which are refused where the way was over at once
            self.send(sent.path, sent.payload, i64(len(sent.payload)), sent.unit, sent.traits, now)

    def on_failed(self, error: int, now: Micros) -> None:
        """Tell the client so; and whoever else wants this way, until it is tried again."""
        context = self.context
        self.state = FAILED
        self.error = error
        self._request = None
        context.room.leave(self)
        self.weight = 0
        self.used_at = now
        self.idle_limit = RETRY_AFTER
        context.room.enter(self)
        self._forget_paths(not_reached(error))
        for sent in self._kept.take():
            self._refuse(sent.path, sent.payload, i64(len(sent.payload)), sent.unit, error, now)
        if error == _EMFILE or error == _ENFILE:  # which somebody can spare, for the next try
            context.room.send_away(self.client, now)

    def note_tried(self, where: str, took: Micros, failure: str) -> None:
        """Note an attempt to open the way for all flows that wait for it, and are watched."""
        for path in self.paths.values():
            if path.life is not None:
                path.life.note_tried(where, took, failure)

    def on_ended(self) -> None:
        """The proxy gave the way up: the next datagram asks for another one."""
        self._request = None
        self.close()

    def has_no_way(self, is_here: Callable[[str], bool]) -> bool:
        """Tell the same of its link. One that is still being opened may be on the old way: it is none."""
        return self.state == OPENING or (self._link is not None and self._link.has_no_way(is_here))

    def outer_socket(self) -> socket.socket | None:
        """Return the socket that leads to the proxy, None where there is none now; it stays whose it is."""
        return self._link.outer_socket() if self._link is not None else None

    def give_way(self, now: Micros) -> None:
        for path in list(self.paths.values()):
            self.flush(path, now)
        for sent in self._kept.take():
            size = i64(len(sent.payload))
            self.context.counters.drop_several(TABLE_FULL, count_datagrams(size, sent.unit))
        self.close()

    def close(self) -> None:
        if self.state == CLOSED:
            return
        context = self.context
        self.state = CLOSED
        link = self._link
        if link is not None:
            self._link = None
            link.close()
        request = self._request
        if request is not None:
            self._request = None
            self._opener.close_datagrams(request)
        self._kept.take()
        self._forget_paths(IDLE if self.error == 0 else not_reached(self.error))
        context.room.leave(self)
        del context.ways[self.key]

    def die(self) -> None:
        """Nobody is at the proxy's end any more."""
        info = self._info
        if info is not None and self.state == OPEN:
            self._opener.unreached(info, self._verdict, _ECONNREFUSED)
        self.error = _ECONNREFUSED
        self.close()

    def on_trouble(self, why: str) -> None:
        """Tell people what is wrong with what comes, or does not come, through this way."""
        info = self._info
        if info is not None:
            self._opener.on_trouble(info, self._verdict, why)

    def on_spoiled(self, error: BaseException) -> None:
        """Tell people what is wrong with the framing."""
        self._opener.on_spoiled(self._verdict.upstream, error)

    def _forget_paths(self, reason: str) -> None:
        for path in list(self.paths.values()):
            self.context.forget(path, reason)

    # from the client

    def flush(self, path: Path, now: Micros) -> None:
        parts = path.parts
        count = len(parts)
        if count == 0:
            return
        unit = path.unit
        total = path.total
        path.clear()
        link = self._link
        if link is None:
            payload = parts[0] if count == 1 else b"".join(parts)
            self.send(path, payload, total, unit if count > 1 else 0, path.traits, now)
        elif count == 1:
            link.send_one(path, parts[0], now)
        else:
            pieces: list[bytes | memoryview] = []
            pieces.extend(parts)
            link.send_several(path, pieces, unit, now)

    def send(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, traits: i64, now: Micros
    ) -> None:
        link = self._link
        if link is None:
            if self.state == OPENING:
                lost = self._kept.add(path, payload, size, unit, traits)
                if lost > 0:
                    self.context.counters.drop_several(WAITING_FULL, lost)
            else:  # since this very batch began
                self._refuse(path, payload, size, unit, self.error, now)
        elif unit <= 0 or unit >= size:
            link.send_one(path, bytes(payload), now)
        else:
            pieces: list[bytes | memoryview] = []
            at: i64 = 0
            while at < size:
                pieces.append(payload[at : min(at + unit, size)])
                at += unit
            link.send_several(path, pieces, unit, now)

    def _refuse(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, error: int, now: Micros
    ) -> None:
        """Count what is not sent, and tell the client unless error is 0."""
        reason = REJECTED if error != 0 else TABLE_FULL
        self.context.counters.drop_several(reason, count_datagrams(size, unit))
        if error != 0:
            self.context.refuse(path.ends, bytes(payload[:unit] if unit > 0 else payload), error, now)
