"""Stages in a row, and the default behind them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from tunproxy.flow.ports import Decider
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import FlowInfo, Verdict


class Stage(ABC):
    """Something that may have an opinion on new flows."""

    @abstractmethod
    def decide(self, info: FlowInfo) -> Verdict | None:
        """Return the verdict, or None to leave the flow to the next stage. Must not block or raise."""


class Pipeline(Decider):
    """Asks stages in order; the default decides what they leave."""

    def __init__(self, stages: Sequence[Stage], default: Verdict) -> None:
        self._stages: Final = tuple(stages)
        self._default: Final = default

    def decide(self, info: FlowInfo) -> Verdict:
        for stage in self._stages:
            verdict = stage.decide(info)
            if verdict is not None:
                return verdict
        return self._default


def build_decider(stages: Sequence[Stage], default: Verdict) -> Decider:
    """Return a decider that asks stages and falls back to default; without stages it is a compiled one."""
    return Pipeline(stages, default) if stages else StaticDecider(default)
