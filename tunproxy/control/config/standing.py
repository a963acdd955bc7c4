"""Upstreams that are always there: those that let nothing through, and one that lets DNS past another."""

from typing import Final

from mypy_extensions import i64

from tunproxy.flow.ports import Abilities
from tunproxy.flow.verdict import DROP, REJECT, FlowInfo, Verdict
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.knowledge import UDP

REJECTING: Final = "reject"
DROPPING: Final = "drop"

DNS_PORT: Final = 53


class RefusingUpstream(Upstream):
    """Every flow gets the same refusal: at once (TCP a reset, others ICMP port unreachable), or no answer."""

    def __init__(self, name: str, kind: i64) -> None:
        """kind is REJECT or DROP."""
        super().__init__(name)
        self._kind: Final = kind

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return self.constant(why)

    def constant(self, why: str = "") -> Verdict:
        return Verdict(self._kind, self.name, why=why)


class DnsAside(Upstream):
    """An upstream that sends what it is asked of names past another, unless that is known to carry UDP.

    For ``--upstream``: without names nothing works, and who asks for one word on the command line has not
    said how names are to be resolved.
    """

    def __init__(self, inner: Upstream, direct: Upstream) -> None:
        super().__init__(inner.name)
        self._inner: Final = inner
        self._direct: Final = direct

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        if self._goes_past(info):
            return self._direct.verdict_for(info, f"DNS, which {self.name} cannot carry by UDP")
        return self._inner.verdict_for(info, why)

    def tcp_constant(self, why: str = "") -> Verdict | None:
        return self._inner.tcp_constant(why)

    def carries(self, info: FlowInfo) -> bool:
        return self._goes_past(info) or self._inner.carries(info)

    def tcp_abilities(self) -> Abilities | None:
        return self._inner.tcp_abilities()

    def _goes_past(self, info: FlowInfo) -> bool:
        if info.protocol != "udp" or info.target_port != DNS_PORT:
            return False
        return self._inner.knowledge.has(UDP) is not True


def refusing_upstreams() -> dict[str, Upstream]:
    """Return those that are always there, by name."""
    return {
        REJECTING: RefusingUpstream(REJECTING, REJECT),
        DROPPING: RefusingUpstream(DROPPING, DROP),
    }
