"""The ways out that there are: what each is, how its tests went, and which members groups use."""

from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import About
from tunproxy.control.policy import Policy
from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import DROP, REJECT, FlowInfo
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.group import CLASH_NAMES, Group
from tunproxy.upstream.health import Health
from tunproxy.upstream.history import DEAD, Record
from tunproxy.upstream.types import URL_NAME

Document = dict[str, Any]

_DATAGRAM: Final = FlowInfo("udp", bytes(4), 0, bytes(4), 0)


class Ways:
    """Lists ways and keeps choices, by the names of groups; health is None where nobody tests."""

    def __init__(
        self, keeper: PolicyKeeper, health: Health | None, choices: MutableMapping[str, str]
    ) -> None:
        self._keeper: Final = keeper
        self._health: Final = health
        self._choices: Final = choices

    def adopt(self, policy: Policy) -> None:
        """Have the groups of a new policy use the members that were chosen, as far as they have them."""
        for name, member in self._choices.items():
            group = policy.parts.ways.get(name)
            if isinstance(group, Group):
                with suppress(ConfigError):
                    group.choose(member)

    def describe(self) -> list[Document]:
        """Return all ways in the order of the configuration, groups last."""
        parts = self._keeper.policy.parts
        records = self._health.records() if self._health is not None else {}
        found = list(parts.upstreams.values())
        if URL_NAME in parts.ways and URL_NAME not in parts.upstreams:
            found.append(parts.ways[URL_NAME])
        found.sort(key=lambda each: isinstance(each, Group))
        return [self._way(each, records.get(each.name, [])) for each in found]

    def find(self, name: object) -> Upstream:
        """Return the way of a name, which may be Clash's for it; raises ConfigError where there is none."""
        ways = self._keeper.policy.parts.ways
        if not isinstance(name, str) or name not in ways:
            raise ConfigError(f"there is no upstream or group {name!r}")
        return ways[name]

    def choose(self, about: About) -> Document:
        """Have a group use a member, "" for none in particular; return the member as the group writes it.

        Raises ConfigError where there is no such group or member, or it chooses by itself.
        """
        group = self.find(about.get("group"))
        if not isinstance(group, Group):
            raise ConfigError(f"{group.name!r} is no group")
        member = _written(group, about.get("member"))
        group.choose(member)
        if member:
            self._choices[group.name] = member
        else:
            self._choices.pop(group.name, None)
        return {"group": group.name, "member": member}

    def _way(self, way: Upstream, records: list[Record]) -> Document:
        document: Document = {
            "name": way.name,
            "type": self._type_of(way),
            "is_group": isinstance(way, Group),
            "udp": way.carries(_DATAGRAM),
            "tests": [
                {
                    "url": record.url,
                    "is_dead": record.state == DEAD,
                    "delays": [[delay.at, delay.ms] for delay in record.history],
                }
                for record in records
            ],
        }
        if isinstance(way, Group):
            now = way.current()
            document |= {
                "members": [member.name for member in way.members],
                "now": now.name if now is not None else None,
                "chosen": way.chosen,
                "takes_choice": way.takes_choice,
                "url": way.plan.url if way.plan is not None else "",
                "status": way.plan.status if way.plan is not None else 0,
            }
        return document

    def _type_of(self, way: Upstream) -> str:
        """Return the type as the configuration calls it; of one that stands in no file, what is known."""
        config = self._keeper.sources.config
        known = config.groups.get(way.name) or config.upstreams.get(way.name)
        if known is not None:
            return known.type
        always = way.constant()
        if always is not None and always.kind in (REJECT, DROP):
            return "reject" if always.kind == REJECT else "drop"
        return way.name if way.name == "direct" else type(way).__name__.lower()


def _written(group: Group, member: object) -> str:
    """Return the member as it stands in the configuration; raises ConfigError where there is none."""
    if member == "":
        return ""
    for written, each in zip(group.member_names, group.members, strict=True):
        if member in (written, each.name) or CLASH_NAMES.get(str(member)) == each.name:
            return written
    raise ConfigError(f"group {group.name!r} has no member {member!r}")
