"""Policy rules that follow whether we answer names: a saved configuration may be the first that needs them.

Where we answer port 53, the rules take it before networks that we are connected to win (``host.rules``), so
that a resolver on the LAN is not asked past us. Whether we do depends on the rules of traffic, which change
while we run; the kill switch is made from the same policy rules, and follows with them.
"""

import dataclasses
from collections.abc import Iterable
from ipaddress import ip_address
from typing import ClassVar

from tunproxy.control.config.sources import Sources
from tunproxy.control.policy import may_answer_names
from tunproxy.host.addresses import Interface
from tunproxy.host.changes import Change
from tunproxy.host.netlink import Netlink, Rule
from tunproxy.host.rules import PolicyRules


class FollowingRules(Change):
    """The policy rules; the next mend() makes those that the sources told last want."""

    what: ClassVar[str] = PolicyRules.what

    def __init__(self, rules: PolicyRules) -> None:
        self._rules = rules
        self._sources: Sources | None = None  # that were not looked at yet

    def follow(self, sources: Sources) -> None:
        """Go by these sources from the next mend() on, which may be in another thread."""
        self._sources = sources

    def rules(self, address: Interface, marks: Iterable[tuple[int, int]] = ()) -> list[Rule]:
        """Return what is in force, as PolicyRules does."""
        return self._rules.rules(address, marks)

    def apply(self, net: Netlink) -> None:
        self._rules.apply(net)

    def mend(self, net: Netlink) -> bool:
        sources = self._sources
        if sources is not None:
            self._change(sources, net)
            if self._sources is sources:
                self._sources = None
        return self._rules.mend(net)

    def revert(self, net: Netlink) -> None:
        self._rules.revert(net)

    def _change(self, sources: Sources, net: Netlink) -> None:
        answers = may_answer_names(sources)
        spared = tuple(map(ip_address, sources.config.dns.hijack_except)) if answers else ()
        scope = dataclasses.replace(self._rules.scope, dns=answers, dns_except=spared)
        if scope != self._rules.scope:
            wanted = dataclasses.replace(self._rules, scope=scope)
            wanted.apply(net)
            self._rules = wanted
