"""The first member that is alive."""

from tunproxy.plugin.api import FlowInfo, Group, Upstream


class Fallback(Group):
    """Sends flows through the first of its members that is well, and can carry them.

    A member that somebody chose comes first, as long as it is well.
    """

    takes_choice = True

    def current(self) -> Upstream | None:
        likely = self.likely()
        return self.chosen_among(likely) or next(iter(likely), None)

    def pick(self, info: FlowInfo) -> Upstream | None:
        usable = self.usable(info)
        return self.chosen_among(usable) or next(iter(usable), None)
