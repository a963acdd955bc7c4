"""What Prometheus is told of a worker beside its status: who decided, upstreams, groups, names."""

from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import About
from tunproxy.control.live_names import LiveNames
from tunproxy.upstream.group import Group
from tunproxy.upstream.health import Health

# our choices
MOST_RULES: Final = 200  # with a series of their own: the first ones that have decided anything
MOST_TEXT: Final = 120  # letters of a rule

Document = dict[str, Any]


class Measures:
    """Counts of one worker. Those of rules and names begin anew with each policy, as Prometheus expects."""

    def __init__(self, keeper: PolicyKeeper, health: Health, names: LiveNames) -> None:
        self._keeper: Final = keeper
        self._health: Final = health
        self._names: Final = names

    def document(self, about: About) -> Document:
        """Return it.

        targets      flows, by where rules sent them
        rules        [number, text, target, flows]; -1 is the default
        upstreams    those that were tested, by name: is_well, failures (tests in a row), and seconds that the
                     last test took, or null
        groups       by name, the member in use
        dns          what names count
        """
        return {**self._decided(), **self._ways(), "dns": self._names.statistics()}

    def _decided(self) -> Document:
        policy = self._keeper.policy
        if policy.ruling is None:
            return {"targets": {}, "rules": []}
        targets: dict[str, int] = {}
        rules: list[list[Any]] = []
        for place, count in sorted(policy.ruling.hits.counts.items()):
            rule = policy.parts.rules[place] if place >= 0 else None
            target = policy.parts.default if rule is None else rule.target
            targets[target] = targets.get(target, 0) + count
            if len(rules) < MOST_RULES:
                rules.append([place, rule.text[:MOST_TEXT] if rule is not None else "", target, count])
        return {"targets": targets, "rules": rules}

    def _ways(self) -> Document:
        upstreams = {}
        for name, known in self._health.records().items():
            records = [record for record in known if record.history]
            if not records:
                continue
            delays = [record.delay for record in records if record.delay is not None]
            upstreams[name] = {
                "is_well": all(record.problem == "" for record in records),
                "failures": max(record.failures for record in records),
                "seconds": min(delays) / 1000 if delays else None,
            }
        groups = {}
        for name, way in self._keeper.policy.parts.ways.items():
            if isinstance(way, Group) and name == way.name:  # not by Clash's name for it
                now = way.current()
                groups[name] = now.name if now is not None else None
        return {"upstreams": upstreams, "groups": groups}
