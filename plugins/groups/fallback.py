"""The first member that is alive."""

from tunproxy.plugin.api import FlowInfo, Group, Upstream


class Fallback(Group):
    """Sends flows through the first of its members that is well, and can carry them."""

    def current(self) -> Upstream | None:
        return next((member for member in self.members if self.is_well(member)), None)

    def pick(self, info: FlowInfo) -> Upstream | None:
        return next(iter(self.usable(info)), None)
