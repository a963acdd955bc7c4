"""The decider for a policy that says the same of every flow, so that no flow pays for being asked."""

from typing import Final, final

from mypy_extensions import mypyc_attr

from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import FlowInfo, Verdict


@final
@mypyc_attr(native_class=True)
class StaticDecider(Decider):
    """Gives every flow the same verdict."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict: Final = verdict

    def decide(self, info: FlowInfo) -> Verdict:
        return self._verdict

    def constant(self) -> Verdict | None:
        return self._verdict
