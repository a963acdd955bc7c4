"""What a decider asks before its rules."""

from abc import ABC, abstractmethod

from tunproxy.flow.verdict import FlowInfo, Verdict


class Stage(ABC):
    """Something that may have an opinion on new flows."""

    @abstractmethod
    def decide(self, info: FlowInfo) -> Verdict | None:
        """Return the verdict, or None to leave the flow to the next stage. Must not block or raise."""
