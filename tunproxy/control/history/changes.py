"""Adds up which flows would go elsewhere: by where from and where to, with what they carried."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final  # Any: documents, as JSON has them

from tunproxy.control.history.replay import Answer, Replay, meant

# our choices
MOST_NAMES: Final = 3  # of a group, that are shown
MOST_TOLD: Final = 10_000  # names of a group that are told apart

Entry = Mapping[str, Any]
Document = dict[str, Any]


@dataclass(slots=True)
class Group:
    """Flows that go from one target to another, which may be the same."""

    before: str
    after: str
    flows: int = 0
    up: int = 0
    down: int = 0
    hosts: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Entry, answer: Answer) -> None:
        """Count a flow."""
        self.flows += 1
        self.up += entry["up"]
        self.down += entry["down"]
        host = entry["name"] or entry["target"]
        if host in self.hosts or len(self.hosts) < MOST_TOLD:
            self.hosts[host] += 1
        self.rules[f"{answer.rule} ({answer.place})" if answer.rule else "the default"] += 1

    def document(self) -> Document:
        """Return it as JSON has it."""
        return {
            "from": self.before,
            "to": self.after,
            "flows": self.flows,
            "octets_up": self.up,
            "octets_down": self.down,
            "hosts": dict(self.hosts.most_common(MOST_NAMES)),
            "rules": dict(self.rules.most_common(MOST_NAMES)),
        }


class Changes:
    """Compares where flows went with where rules would send them.

    before decides where an entry does not say where it went; entries that a plugin or a mode has decided, or
    nobody, are counted and not compared.
    """

    def __init__(self, after: Replay, before: Replay | None = None) -> None:
        self._after: Final = after
        self._before: Final = before
        self._groups: Final[dict[tuple[str, str], Group]] = {}
        self.flows = 0
        self.unknown: Final[Counter[str]] = Counter()  # by what is missing
        self.skipped: Final[Counter[str]] = Counter()  # by who has decided

    @property
    def changed(self) -> int:
        """How many flows would go elsewhere."""
        return sum(each.flows for each in self._groups.values() if each.before != each.after)

    def groups(self, *, every: bool = False) -> list[Group]:
        """Return the groups that change, or every one, the largest first; those that stay come last."""
        found = [each for each in self._groups.values() if every or each.before != each.after]
        return sorted(
            found, key=lambda each: (each.before == each.after, -each.flows, each.before, each.after)
        )

    def take(self, entry: Entry) -> Document | None:
        """Count a flow; return what changes about it, None where nothing does or nobody can say."""
        self.flows += 1
        try:
            before = self._went(entry)
            if not before:
                return None
            answer = self._after.answer(entry)
        except (ValueError, KeyError, TypeError):
            self.unknown["a whole entry"] += 1
            return None
        if answer.needs:
            self.unknown[" and ".join(answer.needs)] += 1
            return None
        group = self._groups.setdefault((before, answer.target), Group(before, answer.target))
        group.add(entry, answer)
        if before == answer.target:
            return None
        return {
            "id": entry.get("id"),
            "ended": entry["ended"],
            "protocol": entry["protocol"],
            "target": entry["target"],
            "target_port": entry["target_port"],
            "name": entry["name"],
            "process": (entry.get("process") or {}).get("name"),
            "from": before,
            "to": answer.target,
            "rule_before": entry.get("rule"),
            "rule": answer.rule or None,
            "place": answer.place or None,
            "octets_up": entry["up"],
            "octets_down": entry["down"],
        }

    def document(self, *, every: bool = False) -> Document:
        """Return the whole as JSON has it."""
        return {
            "flows": self.flows,
            "changed": self.changed,
            "groups": [each.document() for each in self.groups(every=every)],
            "unknown": dict(self.unknown),
            "not_compared": dict(self.skipped),
        }

    def _went(self, entry: Entry) -> str:
        """Return where a flow went, "" where that cannot be compared; which is counted."""
        if self._before is not None:
            answer = self._before.answer(entry)
            if answer.needs:
                self.unknown[" and ".join(answer.needs)] += 1
            return answer.target
        if entry["way"] is None:
            self.skipped[entry["decided_by"]] += 1
            return ""
        return meant(entry["way"])
