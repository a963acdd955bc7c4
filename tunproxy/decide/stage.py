"""What a decider asks before its rules."""

from abc import ABC, abstractmethod

from tunproxy.flow.verdict import FlowInfo, Verdict


class Stage(ABC):
    """Something that may have an opinion on new flows."""

    @abstractmethod
    def decide(self, info: FlowInfo) -> Verdict | None:
        """Return the verdict, or None to leave the flow to the next stage. Must not block or raise."""

    async def settled(self, info: FlowInfo, verdict: Verdict) -> Verdict | None:
        """Return what verdict, which ``decide`` has returned, comes to where it says to wait for somebody.

        None: he has no opinion, and the rules decide, too late to hear the client. This is for whoever
        explains a flow; one that there is waits where its way is opened.
        """
        return verdict
