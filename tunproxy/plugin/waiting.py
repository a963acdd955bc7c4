"""A flow that waits for a plugin to make up its mind."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.upstream.deferred import DeferredUpstream


class Panel(Protocol):
    """Those who decide."""

    @abstractmethod
    async def wait(self, info: FlowInfo, place: int) -> Verdict:
        """Return the verdict once it is there."""


class Waiting(DeferredUpstream):
    """Waits for the plugin at a place of the panel, then opens the flow the way it says."""

    def __init__(self, plugin: str, place: int, panel: Panel, targets: Targets) -> None:
        super().__init__(_Turn(panel, place), targets, f"plugin {plugin}")
        self.place: Final = place


class _Turn:
    """One plugin's turn. Names are not its business: what needs one resolved is for the rules to settle."""

    def __init__(self, panel: Panel, place: int) -> None:
        self._panel: Final = panel
        self._place: Final = place

    async def settle(self, info: FlowInfo) -> Verdict:
        return await self._panel.wait(info, self._place)

    def addresses_of(self, info: FlowInfo) -> Sequence[str]:
        return ()

    def is_unresolved(self, info: FlowInfo) -> bool:
        return False
