"""Asks the decider about datagrams: once for each pair of a client's port and a target.

A mapping serves every target that a client's port writes to, but rules look at targets; so the flow that is
decided about is the pair. What may go is remembered by its ``Path``; what may not, here, for a while. Echo
has no paths, so here is all that was said about it. Where every flow goes to its own target, nobody is asked.
"""

import errno
import logging
from typing import Final, final

from mypy_extensions import mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import DIAL, DROP, REJECT, SNIFF, FlowInfo, Verdict

_log: Final = logging.getLogger(__name__)
_ECONNREFUSED: Final = errno.ECONNREFUSED
_ETIMEDOUT: Final = errno.ETIMEDOUT

# our choices
MAX_KEPT: Final = 4096  # the oldest is forgotten, and asked about again when it matters
KEPT_FOR: Final[Micros] = 10_000_000  # as long as a ping waits; a plugin may change its mind


@final
@mypyc_attr(native_class=True)
class Decision:
    """A verdict, and until when it need not be asked for again."""

    def __init__(self, verdict: Verdict, until: Micros) -> None:
        self.verdict: Final = verdict
        self.until: Micros = until


@final
@mypyc_attr(native_class=True)
class Decisions:
    """What decider says of datagrams; None for a decider sends everything to its own target.

    opens says that there is somebody who opens ways through proxies.
    is_static says that this is what happens, and that there is no need to ask.
    """

    def __init__(self, decider: Decider | None, opens: bool = False) -> None:
        self._opens: Final = opens
        self._decider: Final = decider
        self.is_static: bool = False
        self.always: Verdict | None = None  # where it is static, and there is a decider
        self.asked: FlowInfo | None = None  # what was decided with the last question, if it was
        self._kept: Final[dict[bytes, Decision]] = {}
        self.on_new_policy()

    def __len__(self) -> int:
        return len(self._kept)

    def on_new_policy(self) -> None:
        """Take note that the decider says something else from now on."""
        always = self._decider.constant() if self._decider is not None else None
        self.is_static = self._decider is None or (
            always is not None and always.kind == DIAL and not always.address and always.port == 0
        )
        self.always = always
        self._kept.clear()

    def about_path(self, key: bytes, info: FlowInfo, now: Micros) -> Verdict | None:
        """Return the verdict on a pair that has no path; None where it goes to its own target.

        key is the pair as it stands in a frame. Only what is refused is remembered.
        """
        self.asked = None
        if self.is_static:
            return None
        found = self._kept.get(key)
        if found is not None and now < found.until:
            return found.verdict
        assert self._decider is not None
        self.asked = info
        verdict = self._decider.decide(info)
        self._kept.pop(key, None)
        self.note(key, info, verdict, now)
        return verdict

    def about_sniffed(self, info: FlowInfo, datagram: bytes) -> Verdict | None:
        """Return the verdict on a pair of which that was to wait for its datagrams; None to wait for more."""
        assert self._decider is not None
        return self._decider.decide_sniffed(info, datagram)

    def note(self, key: bytes, info: FlowInfo, verdict: Verdict, now: Micros) -> None:
        """Remember a verdict on a pair if it refuses."""
        kind = verdict.kind
        if kind == DIAL or kind == SNIFF:
            return
        if kind != REJECT and kind != DROP:
            if self._opens:
                return
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("%s: refused: %s carries TCP only", info, verdict)
        self._keep(key, verdict, now)

    def note_failure(self, key: bytes, error: int, now: Micros) -> None:
        """Remember that a pair was refused by whoever was to decide about it, with an errno."""
        if error == _ECONNREFUSED:
            self._keep(key, Verdict(REJECT, "", why="refused before"), now)
        elif error == _ETIMEDOUT:
            self._keep(key, Verdict(DROP, "", why="dropped before"), now)

    def about_echo(self, key: bytes, client: bytes, target: bytes, now: Micros) -> Verdict | None:
        """Return the verdict on a ping of a target; None where it goes there.

        key is the client and the identifier. A verdict that lets it go lasts for as long as the ping does.
        """
        self.asked = None
        if self.is_static:
            return None
        key = key + target
        found = self._kept.get(key)
        if found is not None and now < found.until:
            if found.verdict.kind == DIAL:
                found.until = now + KEPT_FOR
            return found.verdict
        info = FlowInfo("icmp", client, 0, target, 0)
        verdict = self._ask_about_echo(info)
        self.asked = info
        self._keep(key, verdict, now)
        return verdict

    def _ask_about_echo(self, info: FlowInfo) -> Verdict:
        assert self._decider is not None
        verdict = self._decider.decide(info)
        kind = verdict.kind
        if kind != DIAL and kind != REJECT and kind != DROP and _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: refused: %s carries TCP only", info, verdict)
        return verdict

    def _keep(self, key: bytes, verdict: Verdict, now: Micros) -> None:
        kept = self._kept
        kept.pop(key, None)
        if len(kept) >= MAX_KEPT:
            del kept[next(iter(kept))]
        kept[key] = Decision(verdict, now + KEPT_FOR)
