"""Groups: upstreams that send each flow through one of their members, or through all of them.

A group knows its members by name; ``bind_groups`` gives it the upstreams, once all of a policy are there, so
that the order of the configuration does not matter and groups may be members of groups.
"""

import difflib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.errors import ConfigError, OptionError
from tunproxy.flow.verdict import DROP, REJECT, FlowInfo, Verdict
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.health import Health, Plan, Watch
from tunproxy.upstream.history import DEAD, WELL

ARROW: Final = " → "  # between the links of a chain

# our choices
LOOKED_AT_FOR: Final = 1.0  # seconds: what members can carry is looked at anew after a moment
MAX_DEPTH: Final = 32  # groups within groups, as each flow goes down through them

# What Clash calls the upstreams that are always there.
CLASH_NAMES: Final = {"DIRECT": "direct", "COMPATIBLE": "direct", "REJECT": "reject", "REJECT-DROP": "drop"}


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    """What every group has: the names of its members."""

    members: tuple[str, ...]


class GroupError(OptionError):
    """A group cannot be as it was told to be; group is its name, which the message has."""

    def __init__(self, group: str, message: str, *path: str | int) -> None:
        super().__init__(message, *path)
        self.group = group


class Group(Upstream):
    """An upstream made of others. plan says how its members are tested, None not at all.

    Raises OptionError for members that make no sense. Nobody may send flows here before bind.
    """

    def __init__(self, name: str, members: Sequence[str], plan: Plan | None = None) -> None:
        super().__init__(name)
        if not members:
            raise OptionError(f"group {name!r} has no members (name at least one upstream)", "members")
        for at, member in enumerate(members):
            if member in members[:at]:
                raise OptionError(f"group {name!r} has {member!r} twice", "members", at)
        self.member_names: Final = tuple(members)
        self.plan: Final = plan
        self.watch: Watch | None = None
        self.members: tuple[Upstream, ...] = ()
        self.chosen = ""  # the member that somebody chose, as it is written in member_names
        self._health: Health | None = None
        self._usable: Final[dict[tuple[str, int, bool], _Usable]] = {}

    def bind(self, members: Sequence[Upstream], health: Health) -> None:
        """Take the members, in the order of their names; raises ConfigError where they do not fit.

        Called once, and before any flow.
        """
        self.members = tuple(members)
        self._health = health
        if self.plan is not None:  # who refuses everything does that always
            self.watch = Watch([member for member in members if not _refuses(member)], self.plan)
        self.check()

    def check(self) -> None:  # most take whoever comes
        """Raise ConfigError where the members do not fit; called by bind."""

    @abstractmethod
    def pick(self, info: FlowInfo) -> Upstream | None:
        """Return the member that this flow goes through, None where none can carry it.

        Called for each flow. Must not block or raise.
        """

    takes_choice: bool = False  # whether somebody may choose a member

    def choose(self, member: str) -> None:
        """Send new flows through member from now on, "" for none in particular. Raises ConfigError.

        Whoever calls this keeps the choice; it is forgotten with the group.
        """
        if not self.takes_choice:
            raise ConfigError(f"group {self.name!r} chooses by itself")
        if member and member not in self.member_names:
            known = ", ".join(self.member_names)
            raise ConfigError(f"group {self.name!r} has no member {member!r} (it has: {known})")
        self.chosen = member

    def chosen_among(self, usable: Sequence[Upstream]) -> Upstream | None:
        """Return the member that somebody chose, where it is among usable."""
        if not self.chosen:
            return None
        member = self.members[self.member_names.index(self.chosen)]
        return member if member in usable else None

    def choose_for(self, info: FlowInfo) -> Upstream | None:
        """Return what pick says, and note that the group is in use."""
        if self.watch is not None and self._health is not None:
            self._health.use(self.watch)
        return self.pick(info)

    def current(self) -> Upstream | None:
        """Return the member that flows go through now, for people; None where it depends on the flow."""
        return None

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        member = self.choose_for(info)
        if member is None:
            return Verdict(REJECT, self.name, why=f"no member carries {what_of(info)}")
        return through(self.name, member.verdict_for(info, why))

    def carries(self, info: FlowInfo) -> bool:
        return any(member.carries(info) for member in self.members)

    def state_of(self, member: Upstream) -> int:
        """Return how a member is doing: WELL, SUSPECT or DEAD (see ``history``)."""
        if self._health is None or self.plan is None:
            return WELL
        return self._health.state(member, self.plan.url)

    def is_well(self, member: Upstream) -> bool:
        """Tell whether nothing is known against a member."""
        return self.state_of(member) == WELL

    def delay_of(self, member: Upstream) -> int | None:
        """Return what the last test of a member took, in ms; None where that failed, or there was none."""
        if self._health is None or self.plan is None:
            return None
        record = self._health.record(member, self.plan.url)
        return record.delay if record is not None else None

    def usable(self, info: FlowInfo) -> list[Upstream]:
        """Return the members that may take a flow, in their order: those that are well.

        Where none is, those that are suspect, and where all are dead, all: a test may be wrong, and nothing
        is lost by trying. Members that cannot carry the flow are never among them. The
        list is not the caller's.
        """
        kind = (info.protocol, len(info.target), bool(info.host))
        now = self.watch.used_at if self.watch is not None else 0.0
        changes = self._health.changes if self._health is not None else 0
        known = self._usable.get(kind)
        if known is not None and known.changes == changes and now < known.until:
            return known.members
        found = self._look_for(info)
        if self.watch is None:  # nobody keeps the time
            return found
        self._usable[kind] = _Usable(found, changes, now + LOOKED_AT_FOR)
        return found

    def likely(self) -> list[Upstream]:
        """Return the members that may take flows now, whatever kind these are: for current."""
        return self._healthiest(list(self.members))

    def _look_for(self, info: FlowInfo) -> list[Upstream]:
        return self._healthiest([member for member in self.members if member.carries(info)])

    def _healthiest(self, able: list[Upstream]) -> list[Upstream]:
        for worst in range(DEAD):
            found = [member for member in able if self.state_of(member) <= worst]
            if found:
                return found
        return able


@dataclass(frozen=True, slots=True)
class _Usable:
    """Who may take flows of one kind, as long as no state changes, and until."""

    members: list[Upstream]
    changes: int
    until: float


def _refuses(upstream: Upstream) -> bool:
    always = upstream.constant()
    return always is not None and (always.kind == REJECT or always.kind == DROP)


def through(group: str, verdict: Verdict) -> Verdict:
    """Return a member's verdict as the group's: the same way, with the group in its chain."""
    return Verdict(
        int(verdict.kind),
        verdict.upstream,
        verdict.address,
        int(verdict.port),
        verdict.opener,
        verdict.why,
        group + ARROW + (verdict.chain or verdict.upstream),
    )


def what_of(info: FlowInfo) -> str:
    """Return what a flow is, for people: "udp", "tcp to IPv6"."""
    return f"{info.protocol} to IPv6" if len(info.target) == 16 else info.protocol


def bind_groups(upstreams: Mapping[str, Upstream], health: Health) -> list[Watch]:
    """Give every group among upstreams its members; return the tests that they wish (for ``Health.adopt``).

    Raises GroupError for a member that does not exist or fit, and for groups that contain themselves, or
    go too deep.
    """
    groups = {name: upstream for name, upstream in upstreams.items() if isinstance(upstream, Group)}
    members = {
        name: [_named(member, name, upstreams) for member in group.member_names]
        for name, group in groups.items()
    }
    names = {name: [member.name for member in found] for name, found in members.items()}
    for error in circles(names):
        raise error
    depths: dict[str, int] = {}
    for name in _from_the_bottom(names):
        depths[name] = 1 + max((depths.get(member, 0) for member in names[name]), default=0)
        if depths[name] > MAX_DEPTH:
            raise GroupError(name, f"group {name!r}: more than {MAX_DEPTH} groups within groups", "members")
        try:
            groups[name].bind(members[name], health)
        except ConfigError as error:
            path = error.path if isinstance(error, OptionError) else ()
            message = str(error).removeprefix(f"group {name!r} ").removeprefix(f"group {name!r}: ")
            raise GroupError(name, f"group {name!r}: {message}", *path) from error
    return [group.watch for group in groups.values() if group.watch is not None]


def _named(member: str, group: str, upstreams: Mapping[str, Upstream]) -> Upstream:
    found = upstreams.get(member) or upstreams.get(CLASH_NAMES.get(member, ""))
    if found is None:
        near = difflib.get_close_matches(member, upstreams, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise GroupError(group, f"group {group!r}: there is no upstream {member!r}{hint}")
    return found


def circles(members: Mapping[str, Sequence[str]]) -> Iterator[GroupError]:
    """Yield an error for each group that would lead to itself; members are those of groups, by name."""
    done: set[str] = set()
    for start in members:
        way = [] if start in done else [start]
        left = [iter(members[name]) for name in way]
        while way:
            name = next(left[-1], None)
            if name is None:
                left.pop()
                done.add(way.pop())
            elif name in way:
                found = [*way[way.index(name) :], name]
                message = f"group {name!r} contains itself: {ARROW.join(found)}"
                yield GroupError(name, message, "members", list(members[name]).index(found[1]))
            elif name in members and name not in done:
                way.append(name)
                left.append(iter(members[name]))


def _from_the_bottom(members: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of all groups, each after those that are its members; there are no circles."""
    order: dict[str, None] = {}
    for start in members:
        left = [start]
        while left:
            ahead = [each for each in members[left[-1]] if each in members and each not in order]
            if ahead:
                left.append(ahead[0])
            else:
                order[left.pop()] = None
    return list(order)
