"""The decider of a policy with rules: plugins, then rules, then the default.

A flow's way through it, as far as it has to go:

    decide ─▶ stages ─▶ rules ─▶ default            at once, for nearly all
                          │
                          ├─▶ SNIFF ─▶ decide_sniffed      a rule needs a name that nobody knows
                          └─▶ OPEN  ─▶ ``settling``        a rule needs an address or a process
"""

from collections.abc import Sequence
from typing import Final, final

from mypy_extensions import mypyc_attr

from tunproxy.decide.ruling import Ruling
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import SNIFFING, Trace
from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import SNIFF, FlowInfo, Verdict


@mypyc_attr(allow_interpreted_subclasses=True)
class Sniffer:
    """Reads names out of the first octets of flows."""

    def is_worth_waiting(self, protocol: str, port: int) -> bool:
        """Tell whether the client of a flow can be expected to speak before its server does."""
        raise NotImplementedError

    def read(self, trace: Trace, data: bytes) -> tuple[str, str] | None:
        """Return the name, "" for none, and the protocol; None where more octets may tell. Never raises.

        data is as for ``Decider.decide_sniffed``; b"" says that no more will come.
        """
        raise NotImplementedError


@final
@mypyc_attr(native_class=True)
class RuleDecider(Decider):
    """Asks stages, then rules. Without a sniffer no client is accepted before its flow is decided."""

    def __init__(self, stages: Sequence[Stage], ruling: Ruling, sniffer: Sniffer | None = None) -> None:
        self.ruling: Final = ruling
        self._stages: Final = tuple(stages)
        self._sniffer: Final = sniffer

    def decide(self, info: FlowInfo) -> Verdict:
        ruling = self.ruling
        trace = ruling.trace(info)
        for stage in self._stages:
            verdict = stage.decide(info)
            if verdict is not None:
                trace.chosen = verdict
                return ruling.judge(info, trace, False, True)
        sniffer = self._sniffer
        verdict = ruling.judge(info, trace, sniffer is not None, True)
        if verdict.kind == SNIFF:
            assert sniffer is not None
            if not sniffer.is_worth_waiting(info.protocol, int(info.target_port)):
                return ruling.judge(info, trace, False, True)
        return verdict

    def constant(self) -> Verdict | None:
        return self.ruling.constant() if not self._stages else None

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        trace = info.trace
        if not isinstance(trace, Trace) or trace.state != SNIFFING or self._sniffer is None:
            verdict = self.decide(info)
            if verdict.kind != SNIFF:
                return verdict
            trace = info.trace
            assert isinstance(trace, Trace)
        assert self._sniffer is not None
        found = self._sniffer.read(trace, data)
        if found is None:
            return None
        ruling = trace.ruling
        ruling.sniffed(info, trace, found[0], found[1])
        trace.sniffer = None
        return ruling.judge(info, trace, False, True)


@final
@mypyc_attr(native_class=True)
class RulesAfterwards(Decider):
    """Asks the rules about flows that a plugin was waited for: too late to hear what their clients say.

    What it answered stands in the trace (``note_chosen``); the rules decide where that is nothing.
    """

    def __init__(self, ruling: Ruling) -> None:
        self._ruling: Final = ruling

    def decide(self, info: FlowInfo) -> Verdict:
        trace = info.trace
        if not isinstance(trace, Trace):
            trace = self._ruling.trace(info)
        return trace.ruling.judge(info, trace, False, True)
