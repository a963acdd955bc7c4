"""Asks the plugins that decide flows, one by one, and bears with those that fail."""

import ipaddress
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from tunproxy.decide.pipeline import Stage
from tunproxy.flow.verdict import DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.plugin.manager import Hook
from tunproxy.upstream.base import OpenUpstream, Upstream

# our choice: fewer could be bad luck; each costs a traceback in the log, and the flow what the plugin took
MAX_FAULTS: Final = 5  # in a row

_log: Final = logging.getLogger(__name__)


class PluginStage(Stage):
    """The stage of all ``decide_flow`` hooks: the first plugin that has an opinion wins."""

    def __init__(self, hooks: Sequence[Hook], upstreams: Mapping[str, Upstream]) -> None:
        self._hooks: list[Hook] = list(hooks)
        self._upstreams: Final = upstreams
        self._in_a_row: Final[Counter[str]] = Counter()
        self._faults: Final[Counter[str]] = Counter()

    def decide(self, info: FlowInfo) -> Verdict | None:
        offered = {"info": info, "upstreams": self._upstreams}
        for hook in self._hooks:
            try:
                verdict = hook(offered)
                if verdict is not None:
                    verdict = checked(verdict)
            except BaseException as error:  # a plugin's sys.exit() must not end the process either
                self._on_fault(hook, info, error)
                continue
            if hook.plugin in self._in_a_row:
                del self._in_a_row[hook.plugin]
            if verdict is not None:
                return verdict
        return None

    def faults(self) -> dict[str, int]:
        """Return how often each plugin failed."""
        return dict(self._faults)

    def _on_fault(self, hook: Hook, info: FlowInfo, error: BaseException) -> None:
        name = hook.plugin
        self._faults[name] += 1
        self._in_a_row[name] += 1
        _log.error("%s: plugin %s failed to decide", info, name, exc_info=error)
        if self._in_a_row[name] >= MAX_FAULTS:
            self._hooks = [kept for kept in self._hooks if kept.plugin != name]
            _log.error("plugin %s failed %d times in a row: not asked any more in this run", name, MAX_FAULTS)


def checked(answer: object) -> Verdict:
    """Return answer if the packet path can act on it; raises TypeError or ValueError saying why not."""
    if not isinstance(answer, Verdict):
        raise TypeError(f"{answer!r} is no verdict")
    kind = answer.kind
    if kind == DIAL:
        if answer.address:
            ipaddress.ip_address(answer.address)  # a name would make the packet path wait for its look-up
        if not 0 <= answer.port <= 0xFFFF:
            raise ValueError(f"cannot dial port {answer.port}")
    elif kind == OPEN:
        if not isinstance(answer.opener, OpenUpstream):
            raise TypeError(f"{answer.opener!r} cannot open anything")
    elif kind != REJECT and kind != DROP:
        raise ValueError(f"there is no verdict of kind {kind}")
    return answer
