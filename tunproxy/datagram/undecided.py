"""A pair of a client's port and a target that nobody can decide about at once.

Either its first datagrams tell, such as QUIC's name the server: each is shown to the decider, for 30 ms at
most. Or something has to be found out, and whoever does answers our request. What the client says meanwhile
is kept, and goes where the flow goes.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.datagram.carrier import Carrier, count_datagrams
from tunproxy.datagram.context import Context
from tunproxy.datagram.kept import Kept
from tunproxy.datagram.path import Path
from tunproxy.datagram.watching import note_end, note_open, refusal
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import DatagramRequest, Timed
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.wire.ip import UDP, Endpoints
from tunproxy.wire.reasons import REJECTED, TABLE_FULL, WAITING_FULL

if TYPE_CHECKING:
    from tunproxy.datagram.dispatch import Dispatch

_ECONNREFUSED: Final = errno.ECONNREFUSED

# our choice
HEARING: Final[Micros] = 30_000  # from the first datagram on


@final
@mypyc_attr(native_class=True)
class Undecided(Carrier):
    """Has one path, path, until it is decided where the flow goes; key is that of the pair in frames."""

    def __init__(self, dispatch: "Dispatch", key: bytes, info: FlowInfo, limit: Micros, now: Micros) -> None:
        super().__init__(key + b"?", info.client, limit, now)
        self.is_open = False
        context = dispatch.context
        ends = Endpoints(info.target, info.client, info.target_port, info.client_port, UDP)
        self.path: Final = Path(key, key, ("", 0), ends, self)
        self.info: Final = info
        self.is_over: bool = False
        self.reason: i64 = TABLE_FULL  # why there is no way, once it is over
        self.error: int = 0  # what the client is told then, 0 for nothing
        self._context: Final[Context] = context
        self._dispatch: Final = dispatch
        self._kept: Final = Kept(context.kept)
        self._hears: bool = False  # the decider wants to see the datagrams
        self._request: DatagramRequest | None = None
        self._successor: Path | None = None
        context.undecided[self.key] = self
        context.room.enter(self)
        context.remember(self.path)

    def heir(self, path: Path) -> Path | None:
        return self._successor if self.is_over else path

    def hear(self, now: Micros) -> None:
        """Decide by what the client says."""
        self._hears = True
        self._context.poller.schedule(_Patience(self), now + HEARING)

    def wait(self, verdict: Verdict) -> None:
        """Have somebody else decide, at once or later."""
        request = _Waiting(self)
        self._request = request
        self._dispatch.opener.open_datagrams(self.info, verdict, request)

    def flush(self, path: Path, now: Micros) -> None:
        parts = path.parts
        count = len(parts)
        unit = path.unit
        total = path.total
        if count > 0:
            path.clear()
            payload = parts[0] if count == 1 else b"".join(parts)
            self.send(path, payload, total, unit if count > 1 else 0, path.traits, now)

    def send(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, traits: i64, now: Micros
    ) -> None:
        if self.is_over:  # since this very batch began
            self._pass_on(payload, size, unit, traits, now)
            return
        lost = self._kept.add(path, payload, size, unit, traits)
        if lost > 0:
            self._context.counters.drop_several(WAITING_FULL, lost)
        if self._hears:
            self._show(payload, size, unit, lost > 0, now)

    def _show(self, payload: bytes | memoryview, size: i64, unit: i64, is_all: bool, now: Micros) -> None:
        """Let the decider see what came; it has to be content with that where no more can be kept."""
        decisions = self._context.decisions
        step = unit if unit > 0 else max(size, 1)
        at: i64 = 0
        verdict: Verdict | None = None
        while verdict is None and at < size:  # b"" would say that nothing more comes
            verdict = decisions.about_sniffed(self.info, bytes(payload[at : at + step]))
            at += step
        if verdict is not None:
            self.settle(verdict, now)
        elif is_all or size == 0:
            self.hear_out(now)

    def hear_out(self, now: Micros) -> None:
        """Decide without hearing more."""
        if self.is_over:
            return
        verdict = self._context.decisions.about_sniffed(self.info, b"")
        if verdict is not None:
            self.settle(verdict, now)
        else:  # against its contract
            self.fail(_ECONNREFUSED, now)

    def settle(self, verdict: Verdict, now: Micros) -> None:
        """Go where verdict says, with all that was kept."""
        if self.is_over:
            return
        self._request = None
        life = self.path.life
        self.path.life = None
        self._leave()
        dispatch = self._dispatch
        self._successor = dispatch.path_for(self.path.key, self.info, verdict, self._hears, now)
        if self._successor is None:
            self._context.decisions.note(self.path.key, self.info, verdict, now)
            self.reason = dispatch.reason
            self.error = dispatch.error
        if life is not None:
            self._go_on(life, verdict, now)
        self._send_kept(now)

    def _go_on(self, life: FlowLife, verdict: Verdict, now: Micros) -> None:
        """Hand the flow's life over to the path that goes on."""
        life.verdict = verdict
        successor = self._successor
        if successor is None:
            note_end(self._context, life, refusal(verdict, self.error))
            return
        successor.life = life
        if successor.carrier.is_open:
            note_open(self._context, life, now)

    def fail(self, error: int, now: Micros) -> None:
        """Tell the client that there is no way, by this errno."""
        if self.is_over:
            return
        self._request = None
        life = self.path.life
        if life is not None:
            self.path.life = None
            note_end(self._context, life, refusal(life.verdict, error))
        self._leave()
        self._context.decisions.note_failure(self.path.key, error, now)
        self.reason = REJECTED
        self.error = error
        self._send_kept(now)

    def _send_kept(self, now: Micros) -> None:
        for sent in self._kept.take():
            self._pass_on(sent.payload, i64(len(sent.payload)), sent.unit, sent.traits, now)

    def _pass_on(self, payload: bytes | memoryview, size: i64, unit: i64, traits: i64, now: Micros) -> None:
        """Send what came where the flow goes, or say why there is no way."""
        path = self._successor
        if path is not None:
            path.carrier.send(path, payload, size, unit, traits, now)
            return
        self._context.counters.drop_several(self.reason, count_datagrams(size, unit))
        if self.error != 0:
            piece = bytes(payload[:unit]) if unit > 0 else bytes(payload)
            self._context.refuse(self.path.ends, piece, self.error, now)

    def give_way(self, now: Micros) -> None:
        self._send_kept(now)
        self.close()

    def close(self) -> None:
        request = self._request
        if request is not None:
            self._request = None
            self._dispatch.opener.close_datagrams(request)
        self._kept.take()
        self._leave()

    def _leave(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        context = self._context
        context.forget(self.path)
        context.room.leave(self)
        del context.undecided[self.key]


@final
@mypyc_attr(native_class=True)
class _Patience(Timed):
    """Hears the client no longer, after a time."""

    def __init__(self, undecided: Undecided) -> None:
        super().__init__()
        self._undecided: Final = undecided

    def on_deadline(self, now: Micros) -> None:
        self._undecided.hear_out(now)


@final
@mypyc_attr(native_class=True)
class _Waiting(DatagramRequest):
    """What an opener holds of a pair that waits for it."""

    def __init__(self, undecided: Undecided) -> None:
        self._undecided: Final = undecided

    def decided(self, verdict: Verdict) -> None:
        self._undecided.settle(verdict, clock.now())

    def failed(self, error: int) -> None:
        self._undecided.fail(error, clock.now())

    def tried(self, where: str, took: Micros, failure: str) -> None:
        life = self._undecided.path.life
        if life is not None:
            life.note_tried(where, took, failure)
