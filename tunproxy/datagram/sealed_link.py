"""A connected UDP socket to a proxy that takes datagrams encrypted, header and payload (``flow.seal``).

Such a proxy says nothing to those who have another key. So what arrives and cannot be opened is counted, and
told once for each way; and where nothing arrives at all, that is told, too (``ear``).
"""

import socket
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.context import Context
from tunproxy.datagram.ear import PATIENCE, words_for_silence
from tunproxy.datagram.path import MAX_SEGMENTS, Path
from tunproxy.datagram.receiver import Receiver
from tunproxy.datagram.socket_link import MAX_DATAGRAM, SocketLink
from tunproxy.flow.framing import Framing
from tunproxy.flow.ports import Timed
from tunproxy.flow.seal import Seal
from tunproxy.wire.reasons import BAD_SEAL, NO_FLOW

if TYPE_CHECKING:
    from tunproxy.datagram.proxied import ProxiedWay


@final
@mypyc_attr(native_class=True)
class SealedLink(SocketLink):
    """The link of way. framing is about what seal opens."""

    def __init__(
        self, way: "ProxiedWay", context: Context, sock: socket.socket, framing: Framing, seal: Seal
    ) -> None:
        super().__init__(way, context, sock, framing)
        self._seal: Final = seal
        self._ear: Final = context.ear_for(way.upstream)
        self._sent_at: Micros = -1  # when the first datagram was sent
        self._sent_to: Path | None = None  # the last one
        self._has_told: bool = False

    # from the client

    def send_one(self, path: Path, payload: bytes, now: Micros) -> None:
        self._note(path, now)
        try:
            data = self._seal.seal(path.header, payload)
        except Exception as error:  # a plugin's seal must not end the packet path
            self.way.on_spoiled(error)
            self.way.close()
            return
        self.put_one(path, data, payload, now)

    def send_several(self, path: Path, pieces: list[bytes | memoryview], unit: i64, now: Micros) -> None:
        self._note(path, now)
        way = self.way
        seal = self._seal
        header = path.header
        sealed: list[bytes] = []
        try:
            for piece in pieces:
                sealed.append(seal.seal(header, piece))
        except Exception as error:
            way.on_spoiled(error)
            way.close()
            return
        count = len(sealed)
        at: i64 = 0
        while at < count:
            end = self._end_of_run(sealed, at)
            if end - at > 1:
                words: list[bytes | memoryview] = []
                words.extend(sealed[at:end])
                if self.put_joined(words, end - at, i64(len(sealed[at]))):
                    at = end
                    continue
            while at < end:
                self.put_one(path, sealed[at], pieces[at], now)
                at += 1

    def _end_of_run(self, sealed: list[bytes], at: i64) -> i64:
        """Return where those end that may leave with the one at at: of its size, the last may be shorter."""
        step = i64(len(sealed[at]))
        if step > self.way.max_unit:
            return at + 1
        most = min(at + min(MAX_SEGMENTS, MAX_DATAGRAM // step), i64(len(sealed)))
        at += 1
        while at < most:
            size = i64(len(sealed[at]))
            if size > step:
                break
            at += 1
            if size < step:
                break
        return at

    def _note(self, path: Path, now: Micros) -> None:
        self._sent_to = path
        if self._sent_at < 0:
            self._sent_at = now
            self.context.poller.schedule(_Patience(self), now + PATIENCE)

    # to the client

    def take(self, receiver: Receiver, index: i64, at: i64, end: i64, now: Micros) -> None:
        clear = self._seal.open(bytes(receiver.payload(index, at, end)))
        if clear is None:
            self._on_unopened()
            return
        self._ear.heard_at = now
        way = self.way
        off = way.sources.find_in(self.framing, clear)
        ends = way.sources.found
        if ends is not None:
            size = i64(len(clear)) - off
            self.context.joiner.add(ends, clear[off:], size)
            if self.context.watcher is not None:
                way.tally.add(ends, size)

    def take_empty(self, now: Micros) -> None:
        if self._seal.open(b"") is None:
            self._on_unopened()
        else:
            self.context.counters.drop(NO_FLOW)

    def _on_unopened(self) -> None:
        self.context.counters.drop(BAD_SEAL)
        if not self._has_told:
            self._has_told = True
            self.way.on_trouble(self._seal.why)

    def on_patience_over(self, now: Micros) -> None:
        """Tell people where the server has not said anything."""
        if not self.is_closed and not self._has_told and self._ear.is_deaf(self._sent_at):
            self._has_told = True
            self.way.on_trouble(words_for_silence(PATIENCE))

    # errors

    def on_report(self, sent: bytes, error: int, now: Micros) -> None:
        """Pass on that something did not arrive: what it was cannot be read, but it was sent just now."""
        path = self._sent_to
        if path is None:
            self.context.counters.drop(NO_FLOW)
        else:
            self.context.refuse(path.ends, b"", error, now)


@final
@mypyc_attr(native_class=True)
class _Patience(Timed):
    """Waits for the first answer."""

    def __init__(self, link: SealedLink) -> None:
        super().__init__()
        self._link: Final = link

    def on_deadline(self, now: Micros) -> None:
        self._link.on_patience_over(now)
