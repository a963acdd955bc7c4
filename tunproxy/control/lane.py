"""Which prefixes the rules send straight to the kernel's own way, and keeping the kernel told (direct-lane).

Only the front of the rules counts: those that an address alone decides, up to the first one that needs to
know more. Of what they send to DIRECT, that which an earlier one of them sends elsewhere does not count.

What somebody has chosen in a dashboard counts as in workers: rules that are switched off are not there, and
where all goes another way, whatever the rules say, there is no lane.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range
from typing import Final

from tunproxy.control.beside import beside
from tunproxy.control.config.sets import SetCache, Sets
from tunproxy.control.config.sources import Sources
from tunproxy.control.helm.wishes import DIRECT, Wishes
from tunproxy.control.policy import may_answer_names
from tunproxy.dns.settings import FAKE_IP
from tunproxy.errors import TunproxyError
from tunproxy.host.addresses import Network
from tunproxy.host.lane import Lane
from tunproxy.host.netlink import Netlink
from tunproxy.host.rules import DNS_PORT
from tunproxy.rules.build import LAN, range_of, set_name
from tunproxy.rules.compile import PASS
from tunproxy.rules.files import parse_rules
from tunproxy.rules.kinds import NO_RESOLVE
from tunproxy.rules.model import Condition, Position, Rule, RuleError, RuleSetContent
from tunproxy.rules.parse import parse_rule

MAX_PREFIXES: Final = 50_000  # our choice: with more, a start takes seconds
MAX_SHOWN: Final = 200  # prefixes in a status document

_CIDR: Final = frozenset({"IP-CIDR", "IP-CIDR6"})
_SETS: Final = frozenset({"RULE-SET", "GEOIP"})

Ranges = list[tuple[int, int, int]]  # version, the first address and the last

_log: Final = logging.getLogger(__name__)


def lane_of(sources: Sources, off: Collection[int] = ()) -> frozenset[Network]:
    """Return the prefixes whose flows need nobody to decide: they go direct, whatever they are.

    off are rules, by number, that are not asked.
    """
    config = sources.config
    if DIRECT in config.upstreams or DIRECT in config.groups:
        return frozenset()  # DIRECT is whatever the user has made of it
    sets = Sets(config.rule_sets, sources.files, SetCache())
    taken: Ranges = []
    if config.dns.mode == FAKE_IP:
        taken += [range_of(each) for each in (config.dns.fake_ip_range, config.dns.fake_ip_range6) if each]
    direct: Ranges = []
    for number, rule in enumerate(_front(sources)):
        if number in off:
            continue
        ranges = _ranges(rule.condition, sets)
        if ranges is None or rule.observe:  # what it counts has to come to us
            break
        if rule.target in ("DIRECT", DIRECT):
            direct += _without(ranges, taken)
        elif rule.target != PASS:
            taken += ranges
    return _prefixes(direct)


class LaneKeeper:
    """Has the kernel leave out what the rules in force send direct, and says so to those who ask.

    Without is_wanted there is no lane. answers_names says that port 53 is not in it. wishes are what somebody
    has chosen; look_again is to be called when that changes.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        is_wanted: bool,
        answers_names: bool = False,
        wishes: Wishes | None = None,
    ) -> None:
        self._is_wanted: Final = is_wanted
        self._answers_names = answers_names
        self._sources = sources
        self._wishes: Final = wishes or Wishes()
        self._off: frozenset[int] = frozenset()  # of the rules of these sources
        self._new: Final = asyncio.Event()
        self._problem = ""
        self._work: asyncio.Future[frozenset[Network]] | None = None
        self.prefixes: frozenset[Network] = frozenset()

    def change(self) -> Lane:
        """Return what to apply at the start."""
        self.prefixes = self._prefixes_of(self._sources)
        return Lane(self.prefixes)

    def follow(self, sources: Sources) -> None:
        """Go by the rules of these sources from now on, all of which are asked again."""
        if self._is_wanted and (sources is not self._sources or self._off):
            self._sources, self._off = sources, frozenset()
            self._new.set()

    def look_again(self) -> None:
        """Go by what somebody has chosen now, of the rules that are in force."""
        if self._is_wanted:
            self._off = self._wishes.off
            self._new.set()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Tell the kernel within the context whenever the rules are others."""
        try:
            async with beside(self._follow(), name="lane"):
                yield
        finally:
            if self._work is not None:  # nothing may be put into the table after this
                await asyncio.wait([self._work])

    def document(self) -> Mapping[str, object]:
        """Return what ``status`` says: which prefixes never come to us."""
        shown = [str(prefix) for prefix in _in_order(self.prefixes)]
        return {"kernel_direct": shown[:MAX_SHOWN], "kernel_direct_prefixes": len(shown)}

    def problems(self) -> Sequence[str]:
        return [self._problem] if self._problem else []

    def prefix_of(self, address: str, port: int) -> str:
        """Return the prefix that a target is in, "" for one whose packets come to us."""
        is_asked = self._answers_names and port == DNS_PORT
        return "" if is_asked else prefix_in(self.prefixes, address)

    async def _follow(self) -> None:
        while True:
            await self._new.wait()
            self._new.clear()
            try:
                self._work = asyncio.ensure_future(asyncio.to_thread(self._apply, self._sources))
                self.prefixes = await asyncio.shield(self._work)
                self._problem = ""
            except TunproxyError as error:
                self._problem = f"the kernel-direct lane is an old one: {error}"
                _log.warning("%s", self._problem)

    def _apply(self, sources: Sources) -> frozenset[Network]:
        prefixes = self._prefixes_of(sources)
        self._answers_names = may_answer_names(sources)
        with Netlink() as net:
            Lane(prefixes).apply(net)
        return prefixes

    def _prefixes_of(self, sources: Sources) -> frozenset[Network]:
        if not self._is_wanted or self._wishes.everything() not in ("", DIRECT):
            return frozenset()
        found = lane_of(sources, self._off)
        if len(found) > MAX_PREFIXES:
            _log.warning(
                "the kernel-direct lane is empty: %d prefixes are too many (at most %d)",
                len(found),
                MAX_PREFIXES,
            )
            return frozenset()
        return found


def prefix_in(prefixes: Iterable[Network], address: str) -> str:
    """Return the one of prefixes that an address is in, "" for none, or where it is no address."""
    try:
        wanted = ip_address(address)
    except ValueError:
        return ""
    return next((str(each) for each in prefixes if each.version == wanted.version and wanted in each), "")


def _front(sources: Sources) -> Iterable[Rule]:
    """Yield the rules up to the first that cannot be understood without plugins."""
    if not sources.rules:
        for text in sources.config.rules:
            try:
                yield parse_rule(text.strip(), Position("", 1, 1))
            except RuleError:
                return
        return
    file = parse_rules(sources.files[sources.rules])
    end = min((error.position.line for error in file.errors), default=None)
    for rule in file.rules:
        if end is not None and rule.position.line > end:
            return
        yield rule


def _ranges(condition: Condition, sets: Sets) -> Ranges | None:
    """Return the addresses that meet a condition; None where more than the address decides."""
    if set(condition.params) - {NO_RESOLVE}:
        return None
    if condition.kind in _CIDR:
        return [range_of(condition.payload)]
    if condition.kind not in _SETS or condition.payload.startswith("!"):
        return None
    name = set_name(condition)
    if not name:
        return [range_of(prefix) for prefix in LAN]
    try:
        content = sets.load(name)
    except RuleError:
        return None
    return content.ranges if content is not None and _has_only_ranges(content) else None


def _has_only_ranges(content: RuleSetContent) -> bool:
    return not (
        content.exact
        or content.suffix
        or content.below
        or content.wildcard
        or content.keyword
        or content.regex
        or content.conditions
        or content.tries
        or content.skipped
    )


def _without(ranges: Ranges, others: Ranges) -> Ranges:
    """Return what of ranges is in none of others."""
    for version, low, high in others:
        left: Ranges = []
        for each, first, last in ranges:
            if each != version or last < low or first > high:
                left.append((each, first, last))
                continue
            if first < low:
                left.append((each, first, low - 1))
            if last > high:
                left.append((each, high + 1, last))
        ranges = left
    return ranges


def _prefixes(ranges: Ranges) -> frozenset[Network]:
    """Return the fewest prefixes that hold these addresses."""
    merged: Ranges = []
    for version, first, last in sorted(ranges):
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((version, first, last))
    found: set[Network] = set()
    for version, first, last in merged:
        if version == 4:
            found.update(summarize_address_range(IPv4Address(first), IPv4Address(last)))
        else:
            found.update(summarize_address_range(IPv6Address(first), IPv6Address(last)))
    return frozenset(found)


def _in_order(prefixes: Iterable[Network]) -> list[Network]:
    return sorted(prefixes, key=lambda each: (each.version, int(each.network_address), each.prefixlen))
