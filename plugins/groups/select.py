"""The member that somebody chose."""

from collections.abc import Sequence

from tunproxy.plugin.api import ConfigError, FlowInfo, Group, OptionError, Upstream


class Select(Group):
    """Sends flows through the chosen member: the first one, until choose says otherwise."""

    takes_choice = True

    def __init__(self, name: str, members: Sequence[str], chosen: str = "") -> None:
        super().__init__(name, members)
        self.chosen = members[0]
        if chosen:
            try:
                self.choose(chosen)
            except ConfigError as error:
                raise OptionError(str(error), "selected") from error

    def choose(self, member: str) -> None:
        super().choose(member or self.member_names[0])

    def current(self) -> Upstream | None:
        return self.members[self.member_names.index(self.chosen)] if self.members else None

    def pick(self, info: FlowInfo) -> Upstream | None:
        member = self.current()
        return member if member is not None and member.carries(info) else None

    def carries(self, info: FlowInfo) -> bool:
        return self.pick(info) is not None
