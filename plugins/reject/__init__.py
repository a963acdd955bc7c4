"""Upstreams that lead nowhere: one says so at once, the other says nothing."""

from typing import Final

from tunproxy.plugin.api import DROP, REJECT, FlowInfo, Upstream, Verdict, hookimpl


class Refusing(Upstream):
    """Gives every flow the same verdict, REJECT or DROP."""

    def __init__(self, name: str, kind: int) -> None:
        super().__init__(name)
        self._kind: Final = kind

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return self.constant(why)

    def constant(self, why: str = "") -> Verdict:
        return Verdict(self._kind, self.name, why=why)


@hookimpl
def contribute_upstreams() -> list[Upstream]:
    """Contribute ``reject`` and ``drop``."""
    return [Refusing("reject", int(REJECT)), Refusing("drop", int(DROP))]
