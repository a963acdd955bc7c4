"""Reads names out of first octets for the decider; loads what that takes only where rules may need it."""

from typing import Final

from tunproxy.decide.deciding import Sniffer
from tunproxy.decide.trace import Trace
from tunproxy.rules.facts import NEEDS_NAME
from tunproxy.rules.policy import CompiledRules

_NOTHING: Final = ("", "")


class NameSniffer(Sniffer):
    """TLS, HTTP and QUIC, by ``sniffing``, which is loaded at once: not when the first flow waits for it."""

    def __init__(self) -> None:
        from tunproxy.decide import sniffing

        self._sniffing: Final = sniffing

    def is_worth_waiting(self, protocol: str, port: int) -> bool:
        return protocol != "icmp" and self._sniffing.is_worth_waiting(protocol, port)

    def read(self, trace: Trace, data: bytes) -> tuple[str, str] | None:
        if not data:
            return _NOTHING
        if trace.facts.network == "tcp":
            found = self._sniffing.sniff_stream(data)
        else:
            sniffer = trace.sniffer
            if not isinstance(sniffer, self._sniffing.DatagramSniffer):
                sniffer = trace.sniffer = self._sniffing.DatagramSniffer()
            found = sniffer.sniff(data)
        return None if found.needs_more else (found.host, found.protocol)


def sniffer_for(rules: CompiledRules) -> NameSniffer | None:
    """Return what reads names for these rules, None where no rule asks for a name."""
    return NameSniffer() if rules.what_is_needed() & NEEDS_NAME else None
