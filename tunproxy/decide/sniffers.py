"""Reads names out of first octets for the decider; loads what that takes only where rules may need it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast, final

from mypy_extensions import mypyc_attr

from tunproxy.decide.deciding import Sniffer
from tunproxy.decide.sniffing import is_worth_waiting, sniff_stream
from tunproxy.decide.trace import Trace
from tunproxy.rules.facts import NEEDS_NAME
from tunproxy.rules.policy import CompiledRules

if TYPE_CHECKING:
    from tunproxy.decide.sniff_datagrams import DatagramSniffer


@final
@mypyc_attr(native_class=True)
class NameSniffer(Sniffer):
    """TLS, HTTP and QUIC; the last is loaded at once: not when the first flow waits for it."""

    def __init__(self) -> None:
        from tunproxy.decide import sniff_datagrams

        self._of_datagrams: Final[Callable[[], DatagramSniffer]] = sniff_datagrams.DatagramSniffer

    def is_worth_waiting(self, protocol: str, port: int) -> bool:
        return protocol != "icmp" and is_worth_waiting(protocol, port)

    def read(self, trace: Trace, data: bytes) -> tuple[str, str] | None:
        if len(data) == 0:
            return "", ""
        if trace.facts.network == "tcp":
            found = sniff_stream(data)
        else:
            if trace.sniffer is None:
                trace.sniffer = self._of_datagrams()
            found = cast("DatagramSniffer", trace.sniffer).sniff(data)
        return None if found.needs_more else (found.host, found.protocol)


def sniffer_for(rules: CompiledRules) -> NameSniffer | None:
    """Return what reads names for these rules, None where no rule asks for a name."""
    return NameSniffer() if rules.what_is_needed() & NEEDS_NAME else None
