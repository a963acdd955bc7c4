"""Groups: several upstreams under one name, one of which takes each flow, or all of which in a row."""

from dataclasses import dataclass
from typing import Literal

from tunproxy.plugin.api import TEST_URL, GroupOptions, OptionError, Plan, Upstream, UpstreamType, hookimpl

from .fallback import Fallback
from .load_balance import STICKS_FOR, LoadBalance
from .relay import Relay
from .select import Select
from .url_test import UrlTest


@dataclass(frozen=True, kw_only=True)
class SelectOptions(GroupOptions):
    """The member that somebody chose; selected is the choice to begin with, else the first member."""

    selected: str = ""


@dataclass(frozen=True, kw_only=True)
class TestedOptions(GroupOptions):
    """How members are tested: interval and timeout are in seconds, status 0 is any."""

    url: str = TEST_URL
    interval: float = 300.0
    timeout: float = 5.0
    status: int = 0
    lazy: bool = True

    def plan(self, name: str) -> Plan:
        """Return this as a plan; raises OptionError for what makes no sense."""
        if self.interval < 1 or self.timeout <= 0:
            why = f"group {name!r}: interval must be 1 s at least, and timeout more than 0"
            raise OptionError(why, "interval" if self.interval < 1 else "timeout")
        try:
            return Plan(
                url=self.url,
                interval=self.interval,
                timeout=self.timeout,
                status=self.status,
                is_lazy=self.lazy,
            )
        except OptionError as error:
            raise OptionError(f"group {name!r}: {error}", *error.path) from error


@dataclass(frozen=True, kw_only=True)
class UrlTestOptions(TestedOptions):
    """The fastest member; another has to be faster by tolerance, in milliseconds, to take its place."""

    tolerance: int = 50


@dataclass(frozen=True, kw_only=True)
class LoadBalanceOptions(TestedOptions):
    """Each flow to some member; sticks is how long, in seconds, sticky sessions stay where they are."""

    strategy: Literal["consistent-hashing", "round-robin", "sticky-sessions"] = "consistent-hashing"
    sticks: float = STICKS_FOR


@hookimpl
def contribute_upstream_types() -> list[UpstreamType]:
    """Contribute ``select``, ``url-test``, ``fallback``, ``load-balance``, ``relay``."""
    return [
        UpstreamType("select", SelectOptions, _select, is_group=True),
        UpstreamType("url-test", UrlTestOptions, _url_test, is_group=True),
        UpstreamType("fallback", TestedOptions, _fallback, is_group=True),
        UpstreamType("load-balance", LoadBalanceOptions, _load_balance, is_group=True),
        UpstreamType("relay", GroupOptions, _relay, is_group=True),
    ]


def _select(name: str, options: SelectOptions) -> Upstream:
    return Select(name, options.members, options.selected)


def _url_test(name: str, options: UrlTestOptions) -> Upstream:
    if options.tolerance < 0:
        raise OptionError(f"group {name!r}: tolerance must not be negative", "tolerance")
    return UrlTest(name, options.members, options.plan(name), options.tolerance)


def _fallback(name: str, options: TestedOptions) -> Upstream:
    return Fallback(name, options.members, options.plan(name))


def _load_balance(name: str, options: LoadBalanceOptions) -> Upstream:
    return LoadBalance(name, options.members, options.plan(name), options.strategy, sticks_for=options.sticks)


def _relay(name: str, options: GroupOptions) -> Upstream:
    return Relay(name, options.members)
