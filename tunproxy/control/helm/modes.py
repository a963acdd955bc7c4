"""Who decides: the rules, or, for as long as somebody wants it so, one way for everything.

    rule     the rules, as always
    direct   everything goes direct
    global   everything goes the way that was chosen for that

In the last two, names still have fake addresses where they had, as programs may remember these.
"""

from collections.abc import Callable
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.helm.ways import Ways
from tunproxy.control.helm.wishes import DIRECT, GLOBAL, MODES, Wishes
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import About
from tunproxy.control.policy import Policy
from tunproxy.decide.deciding import RuleDecider
from tunproxy.decide.stage import Stage
from tunproxy.errors import ConfigError
from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.group import through


class OneWay(Stage):
    """Sends every flow one way; group is what stands in front of it in the chain, "" for nothing."""

    def __init__(self, way: Upstream, why: str, group: str = "") -> None:
        self._way: Final = way
        self._why: Final = why
        self._group: Final = group if group != way.name else ""

    def decide(self, info: FlowInfo) -> Verdict:
        verdict = self._way.verdict_for(info, self._why)
        return through(self._group, verdict) if self._group else verdict


class Modes:
    """Keeps the mode in force in wishes; on_change is called when the decider is another one."""

    def __init__(
        self, keeper: PolicyKeeper, ways: Ways, on_change: Callable[[], None], wishes: Wishes
    ) -> None:
        self._keeper: Final = keeper
        self._ways: Final = ways
        self._on_change: Final = on_change
        self._wishes: Final = wishes

    def adopt(self, policy: Policy) -> None:
        """Keep the mode with a new policy, which is the current one by now; the way may be gone."""
        if self._wishes.way not in policy.parts.ways:
            self._wishes.way = DIRECT
        if self._wishes.mode != "rule":
            self._apply(policy)

    def stage(self) -> Stage | None:
        """Return what decides in place of the rules of the current policy; None where they do."""
        return self._stage(self._keeper.policy)

    def set(self, about: About) -> dict[str, Any]:
        """Take a mode, and the way for "global"; either may be left out. Raises ConfigError."""
        wishes = self._wishes
        mode, way = about.get("mode", wishes.mode), about.get("way", wishes.way)
        if mode not in MODES:
            raise ConfigError(f"there is no mode {mode!r} ({', '.join(MODES)})")
        found = self._ways.find(way)
        if (mode, found.name) != (wishes.mode, wishes.way):
            wishes.mode, wishes.way = str(mode), found.name
            self._apply(self._keeper.policy)
        return {"mode": wishes.mode, "way": wishes.way}

    def _apply(self, policy: Policy) -> None:
        self._keeper.decider.switch(self._decider(policy))
        self._on_change()

    def _decider(self, policy: Policy) -> Decider:
        stage = self._stage(policy)
        if stage is None or policy.ruling is None:
            return policy.decider
        stages: list[Stage] = [policy.dns.stage] if policy.dns is not None else []
        return RuleDecider([*stages, stage], policy.ruling)

    def _stage(self, policy: Policy) -> Stage | None:
        mode = self._wishes.mode
        if mode == "rule" or policy.ruling is None:
            return None
        if mode == "global":
            return OneWay(policy.parts.ways[self._wishes.way], "mode global", GLOBAL)
        return OneWay(policy.parts.ways[DIRECT], f"mode {mode}")
