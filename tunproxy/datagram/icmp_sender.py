"""Sends ICMP errors to clients, at a bounded rate."""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.error_queue import FROM_ICMP, FROM_ICMP6, QueuedError
from tunproxy.flow.counters import Counters
from tunproxy.flow.targets import is_martian_target
from tunproxy.wire.icmp import (
    CODE_FRAGMENTATION_NEEDED,
    PARAMETER_PROBLEM,
    TIME_EXCEEDED,
    UNREACHABLE,
    V6_PARAMETER_PROBLEM,
    V6_TOO_BIG,
    V6_UNREACHABLE,
)
from tunproxy.wire.icmp_error import SILENT, emit_error, unreachable_code, unreachable_type
from tunproxy.wire.ip import Endpoints
from tunproxy.wire.reasons import ICMP_LIMIT, UNHANDLED_ICMP
from tunproxy.wire.sink import FrameSink

# our choices; RFC 4443 §2.4 f and RFC 1812 §4.3.2.8 want a limit, and leave its size to us
_INTERVAL: Final[Micros] = 1_000  # µs per error in the long run
_BURST: Final[i64] = 200


@final
@mypyc_attr(native_class=True)
class IcmpSender:
    """Writes ICMP errors to sink, no faster than the limit; those beyond it are counted.

    In all methods ends are those of the frames that answer the packet in question, and quote is that packet
    as the client sent it, from its IP header on.
    """

    def __init__(self, sink: FrameSink, scratch: BytesWriter, counters: Counters) -> None:
        self._sink: Final = sink
        self._counters: Final = counters
        self._scratch: Final = scratch
        self._spent_until: Micros = 0  # the errors sent so far use the limit up to this moment

    def refuse(self, ends: Endpoints, quote: bytes, error: int, now: Micros) -> None:
        """Tell the client that its packet was refused with this errno; some of them mean silence."""
        code = unreachable_code(ends.is_ipv6, error)
        if code != SILENT:
            self._send(ends, ends.source, unreachable_type(ends.is_ipv6), code, 0, quote, now)

    def too_big(self, ends: Endpoints, quote: bytes, mtu: i64, now: Micros) -> None:
        """Tell the client that its packet does not fit mtu in one piece (RFC 1191, RFC 8201)."""
        if ends.is_ipv6:
            self._send(ends, ends.source, V6_TOO_BIG, 0, mtu, quote, now)
        else:
            self._send(ends, ends.source, UNREACHABLE, CODE_FRAGMENTATION_NEEDED, mtu & 0xFFFF, quote, now)

    def pass_on(
        self, ends: Endpoints, quote: bytes, queued: QueuedError, dialled: bytes, now: Micros
    ) -> None:
        """Send the client an ICMP error that came for us, from the same router, about its packet.

        dialled is the packed address that the packet really went to: what it says, the target says.
        """
        if queued.origin != (FROM_ICMP6 if ends.is_ipv6 else FROM_ICMP):
            self.refuse(ends, quote, int(queued.errno), now)
            return
        kind = queued.kind
        rest: i64 = 0
        if ends.is_ipv6:
            if not V6_UNREACHABLE <= kind <= V6_PARAMETER_PROBLEM:
                self._counters.drop(UNHANDLED_ICMP)
                return
            if kind == V6_TOO_BIG or kind == V6_PARAMETER_PROBLEM:
                rest = queued.info
        elif kind == UNREACHABLE:
            if queued.code == CODE_FRAGMENTATION_NEEDED:
                rest = queued.info & 0xFFFF
        elif kind != TIME_EXCEEDED and kind != PARAMETER_PROBLEM:
            self._counters.drop(UNHANDLED_ICMP)
            return
        reporter = queued.reporter
        if reporter == dialled or len(reporter) != len(ends.source) or is_martian_target(reporter):
            reporter = ends.source
        self._send(ends, reporter, kind, queued.code, rest, quote, now)

    def _send(
        self, ends: Endpoints, reporter: bytes, kind: i64, code: i64, rest: i64, quote: bytes, now: Micros
    ) -> None:
        if self._spent_until - now > (_BURST - 1) * _INTERVAL:
            self._counters.drop(ICMP_LIMIT)
            return
        self._spent_until = max(self._spent_until, now) + _INTERVAL
        self._sink.write(emit_error(self._scratch, reporter, ends.destination, kind, code, rest, quote))
