"""What the rules say of a flow, and which verdict that is.

One ``Ruling`` is one generation of rules: it never changes, flows keep theirs, and a reload makes a new one.
Verdicts that are the same for every flow of a rule are made once and handed out again. Nothing is looked up
that no rule asks for.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, final

from mypy_extensions import i64, mypyc_attr

from tunproxy import clock
from tunproxy.decide.hits import RuleHits
from tunproxy.decide.trace import DECIDED, SNIFFING, WAITING, FlowLookup, ProcessSource, Trace
from tunproxy.flow.ports import Abilities
from tunproxy.flow.verdict import DIAL, OPEN, REJECT, SNIFF, FlowInfo, Verdict
from tunproxy.logs.faults import Faults
from tunproxy.rules.facts import (
    NEEDS_ADDRESS,
    NEEDS_NAME,
    NEEDS_PROCESS,
    NEEDS_TIME,
    Facts,
)
from tunproxy.rules.policy import UNDECIDED, CompiledRules

NO_RULE: Final[i64] = -1  # the default decided

# our choices
_CLOCK_LASTS: Final[i64] = 1_000_000  # one look at the clock on the wall a second
_MAX_ROUNDS: Final[i64] = 16  # there are four things to find out; whoever asks for more is broken
_localtime: Final = time.localtime


class Way(Protocol):
    """What a rule's target leads to: an upstream or a group, as far as it matters here."""

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        """Return the verdict that sends this flow this way."""

    def constant(self, why: str = "") -> Verdict | None:
        """Return what verdict_for says of every flow; None where it depends."""

    def tcp_constant(self, why: str = "") -> Verdict | None:
        """Return what verdict_for says of every TCP flow; None where it depends."""

    def carries(self, info: FlowInfo) -> bool:
        """Tell whether such a flow can go this way."""

    def tcp_abilities(self) -> Abilities | None:
        """Return what says for every TCP flow that carries need not be asked; None where it has to be."""


class KnownName(Protocol):
    """A name, whence it is known, and all names that may be meant."""

    @property
    def host(self) -> str:
        """The most likely one; "" for none."""

    @property
    def whence(self) -> str:
        """ "dns" or "fake-ip"; the latter also with host "", where the address has lost its name."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """All of them, the newest first."""


class NameSource(Protocol):
    """Knows which name a client means by an address."""

    def lookup(self, client: bytes, address: bytes, now: clock.Micros) -> KnownName:
        """Return what is known of it. Must not block or raise."""


class Naming(Protocol):
    """Puts rules into words; asked at most once for each rule of a generation."""

    def why(self, number: int) -> str:
        """Return why a flow goes where the rule of this number sends it."""


class Waiters(Protocol):
    """Makes what is told to an ``Opener`` of a flow that cannot be decided at once."""

    def opener_for(self, info: FlowInfo) -> object:
        """Return what finds out what is missing, decides, and opens the way; None where nobody can."""


@final
@mypyc_attr(native_class=True)
class Ruling:
    """The rules of one policy, the ways that they lead to, and what is needed to ask them.

    ways has every target of rules, and default. names is None where nobody knows any, processes where there
    is no way to find them out. faults is told of ways that are at fault. wants_names: also where no rule
    needs a name (fake addresses, plugins).
    """

    def __init__(
        self,
        rules: CompiledRules,
        ways: Mapping[str, Way],
        default: str,
        naming: Naming,
        *,
        names: NameSource | None = None,
        processes: ProcessSource | None = None,
        waiters: Waiters | None = None,
        faults: Faults | None = None,
        wants_names: bool = False,
        generation: int = 1,
    ) -> None:
        needs = rules.what_is_needed()
        self.rules: Final = rules
        self.generation: Final = generation
        self.default: Final = default
        self.naming: Final = naming
        self.processes: Final = processes
        self.hits: Final = RuleHits(rules.observed)
        self._names: Final = names
        self._waiters: Final = waiters
        self._faults: Final = faults or Faults()
        self._asks_names: Final = names is not None and (wants_names or needs & NEEDS_NAME != 0)
        self._may_need_name: Final = needs & NEEDS_NAME != 0
        self._asks_processes: Final = needs & NEEDS_PROCESS != 0
        self._asks_time: Final = needs & NEEDS_TIME != 0
        self._ways: Final[list[Way | None]] = [ways.get(target) for target in rules.targets]
        self._default_way: Final[Way] = ways[default]
        self._constants: Final[list[Verdict | None]] = [None] * len(self._ways)
        self._tcp_constants: Final[list[Verdict | None]] = [None] * len(self._ways)
        abilities = {name: way.tcp_abilities() for name, way in ways.items()}
        self._abilities: Final[list[Abilities | None]] = [abilities.get(target) for target in rules.targets]
        self._default_abilities: Final = abilities[default]
        self._whys: Final[dict[int, str]] = {}
        self._default_verdict: Final = self._default_way.constant("default")
        self._default_of_tcp: Final = self._default_way.tcp_constant("default")
        self._is_static: Final = not rules.targets and not wants_names
        self._sniff: Final = Verdict(SNIFF, "undecided", why="a rule needs the name")
        self._lost: Final = Verdict(REJECT, "nobody", why="this fake address has lost its name")
        self._uncarried: Final = Verdict(REJECT, "nobody", why="no rule is left whose target can carry it")
        self._minute: i64 = -1
        self._minute_until: i64 = -1

    def constant(self) -> Verdict | None:
        """Return the verdict of every flow, where there is nothing that could change it."""
        verdict = self._default_verdict
        return verdict if self._is_static and verdict is not None and verdict.kind == DIAL else None

    def trace(self, info: FlowInfo) -> Trace:
        """Return what is known of a flow that begins, with its name, where it is wanted, noted in info."""
        now = clock.now()
        facts = Facts(info.protocol, info.client, info.client_port, info.target, info.target_port)
        trace = Trace(facts, self, now)
        info.trace = trace
        if info.name != "":
            facts.host = info.name
            facts.host_from = info.name_from
        elif self._asks_names:
            assert self._names is not None
            found = self._names.lookup(info.client, info.target, now)
            whence = found.whence
            if whence != "":
                self._take_name(info, trace, found.host, whence, found.candidates)
        if self._asks_time:
            facts.minute_of_week = self.minute(now)
        if self._asks_processes:
            if self.processes is not None:
                facts.lookup = FlowLookup(self.processes, info.target)
            else:
                facts.process_asked = True
                facts.process_why = "processes cannot be looked up here"
        return trace

    def judge(self, info: FlowInfo, trace: Trace, may_sniff: bool, may_wait: bool) -> Verdict:
        """Return the verdict, as far as it can be had; trace.state and trace.start say what it waits for."""
        facts = trace.facts
        trace.state = DECIDED
        if trace.is_fake and facts.host == "":
            trace.verdict = self._lost
            return self._lost
        if trace.chosen is not None:
            return self._finished(info, trace, trace.chosen, may_wait)
        rounds: i64 = 0
        hits = self.hits
        while True:
            found = self.rules.match(facts, trace.start)
            rounds += 1
            if found == UNDECIDED and rounds < _MAX_ROUNDS:
                waits = self._find_out(info, trace, may_sniff, may_wait)
                if waits is not None:
                    return waits
                continue
            if found < 0:
                trace.rule = NO_RULE
                # The default is for who meets no rule: a rule's flow must not leave by a way that it forbids.
                verdict = self._uncarried if _is_uncarried(trace) else self._default(info)
            else:
                if hits.passes_some and self._only_counts(trace, found):
                    rounds = 0
                    continue
                number = facts.decided
                trace.rule = number
                way = self._ways[number]
                assert way is not None
                is_tcp = info.protocol == "tcp"
                abilities = self._abilities[number]
                is_able = is_tcp and abilities is not None and abilities.any_tcp
                if not is_able and not self._carries(info, way, number):
                    self._pass_over(trace, found, found)
                    rounds = 0
                    continue
                known = self._tcp_constants[number] if is_tcp else self._constants[number]
                verdict = known if known is not None else self._verdict(info, way, number)
            verdict = self._finished(info, trace, verdict, may_wait)
            if trace.state == DECIDED:
                hits.note(found)
                if hits.has_observed:
                    self._count_seen(trace)
            return verdict

    def minute(self, now: clock.Micros) -> i64:
        """Return the minute of the week by the clock on the wall, Monday 00:00 being 0."""
        if now >= self._minute_until:
            at = _localtime()
            self._minute = (at.tm_wday * 24 + at.tm_hour) * 60 + at.tm_min
            self._minute_until = now + _CLOCK_LASTS
        return self._minute

    def why(self, number: int) -> str:
        """Return why a flow goes where the rule of this number, -1 for the default, sends it."""
        if number < 0:
            return "default"
        found = self._whys.get(number)
        if found is None:
            found = self.naming.why(number)
            self._whys[number] = found
        return found

    def sniffed(self, info: FlowInfo, trace: Trace, host: str, protocol: str) -> None:
        """Note what the first octets told: a name, or "" for none. What is dialled stays what it was."""
        facts = trace.facts
        facts.host_asked = True
        trace.sniffed = protocol
        if host != "":
            facts.host = host
            facts.host_from = "sniffed"
            info.name = host
            info.name_from = "sniffed"

    def _take_name(
        self, info: FlowInfo, trace: Trace, host: str, whence: str, candidates: Sequence[str]
    ) -> None:
        facts = trace.facts
        facts.host = host
        facts.host_from = whence
        info.name = host
        info.name_from = whence
        if len(candidates) > 1:
            trace.names = tuple(candidates)
        if whence == "fake-ip":
            trace.is_fake = True
            facts.target = b""
            info.host = host

    def _find_out(self, info: FlowInfo, trace: Trace, may_sniff: bool, may_wait: bool) -> Verdict | None:
        """Find out what the rules need, or say that it cannot be; a verdict where somebody has to wait."""
        facts = trace.facts
        needs = facts.needs
        if needs & NEEDS_NAME and facts.host == "" and not facts.host_asked:
            if may_sniff:
                trace.state = SNIFFING
                return self._sniff
            facts.host_asked = True
            return None
        if needs & NEEDS_TIME and facts.minute_of_week < 0:
            facts.minute_of_week = self.minute(clock.now())
            return None
        if may_wait:
            if may_sniff and self._may_need_name and facts.host == "" and not facts.host_asked:
                trace.state = SNIFFING  # now or never: whoever has waited is past being heard
                return self._sniff
            waits = self._wait(info, trace, "a rule needs the address" if needs & NEEDS_ADDRESS else "")
            if waits is not None:
                return waits
        if needs & NEEDS_PROCESS:
            facts.process_asked = True
            facts.process_why = facts.process_why or "nobody could wait for it"
        if needs & NEEDS_ADDRESS:
            facts.address_asked = True
        return None

    def _wait(self, info: FlowInfo, trace: Trace, why: str) -> Verdict | None:
        opener = self._waiters.opener_for(info) if self._waiters is not None else None
        if opener is None:
            return None
        trace.state = WAITING
        return Verdict(OPEN, "undecided", opener=opener, why=why or "a rule needs the process")

    def _finished(self, info: FlowInfo, trace: Trace, verdict: Verdict, may_wait: bool) -> Verdict:
        if trace.is_fake and verdict.kind == DIAL and not verdict.address:
            return self._resolved(info, trace, verdict, may_wait)
        trace.verdict = verdict
        return verdict

    def _resolved(self, info: FlowInfo, trace: Trace, verdict: Verdict, may_wait: bool) -> Verdict:
        """Return verdict for a flow whose target is no address: the name's goes in its place."""
        waits: Verdict | None = None
        if trace.addresses:
            verdict = Verdict(
                DIAL, verdict.upstream, trace.addresses[0], verdict.port, None, verdict.why, verdict.chain
            )
        elif may_wait and not trace.facts.address_asked:
            waits = self._wait(info, trace, "the name has to be resolved")
        if waits is None and not verdict.address:
            trace.is_unresolved = True
            why = f"{verdict.why}; {info.host} has no address"
            verdict = Verdict(REJECT, verdict.upstream, why=why, chain=verdict.chain)
        trace.verdict = verdict
        return verdict if waits is None else waits

    def _default(self, info: FlowInfo) -> Verdict:
        is_tcp = info.protocol == "tcp"
        abilities = self._default_abilities
        is_able = is_tcp and abilities is not None and abilities.any_tcp
        if not is_able and not self._carries(info, self._default_way, NO_RULE):
            why = f"{self.default}, the default, cannot carry it"
            return Verdict(REJECT, self.default, why=why)
        known = self._default_of_tcp if is_tcp else self._default_verdict
        return known if known is not None else self._asked(info, self._default_way, NO_RULE)

    def _carries(self, info: FlowInfo, way: Way, number: i64) -> bool:
        """Tell whether such a flow can go this way; a way that is at fault is asked for its verdict, too."""
        try:
            return way.carries(info)
        except BaseException as error:  # a plugin's sys.exit() must not end the process
            self._complain(info, number, error)
            return True

    def _asked(self, info: FlowInfo, way: Way, number: i64) -> Verdict:
        """Return a way's verdict of this flow, which is refused where the way is at fault."""
        why = self.why(int(number))
        try:
            verdict = way.verdict_for(info, why)
            if not isinstance(verdict, Verdict):
                raise TypeError(f"verdict_for() returned {type(verdict).__name__}, not a verdict")
            return verdict
        except BaseException as error:
            name = self._complain(info, number, error)
            return Verdict(REJECT, name, why=f"{why}; {name} is faulty")

    def _complain(self, info: FlowInfo, number: i64, error: BaseException) -> str:
        """Log what is wrong with the way of a rule, or the default; return its name."""
        name = self.default if number < 0 else self.rules.targets[int(number)]
        self._faults.take(info, name, error, rule=self.why(int(number)))
        return name

    def _verdict(self, info: FlowInfo, way: Way, number: i64) -> Verdict:
        """Return a way's verdict with the rule as the reason; kept where it is the same for every flow."""
        why = self.why(int(number))
        is_tcp = info.protocol == "tcp"
        known = way.tcp_constant(why) if is_tcp else way.constant(why)
        if known is None:
            return self._asked(info, way, number)
        if is_tcp:
            self._tcp_constants[number] = known
        else:
            self._constants[number] = known
        return known

    def _only_counts(self, trace: Trace, found: i64) -> bool:
        """Tell whether a rule that is met does not decide, being switched off or observed; go on after it."""
        hits = self.hits
        if hits.is_off(found):
            self._pass_over(trace, found, ~found)
            return True
        if not hits.is_observed(found):
            return False
        trace.facts.observe(found)
        trace.start = found + 1
        return True

    def _count_seen(self, trace: Trace) -> None:
        """Count a decided flow for the rules that would have decided it, once."""
        seen = trace.facts.observed
        if seen is not None and trace.observed is None:
            trace.observed = seen
            for rule in seen:
                self.hits.note_seen(rule)

    def _pass_over(self, trace: Trace, found: i64, noted: i64) -> None:
        """Go on after a rule that does not count for this flow, with a note of it in the trace."""
        if trace.passed_over is None:
            trace.passed_over = []
        trace.passed_over.append(int(noted))
        trace.start = found + 1


def _is_uncarried(trace: Trace) -> bool:
    """Tell whether the flow met a rule whose target cannot carry it; rules that are off do not count."""
    passed_over = trace.passed_over
    if passed_over is not None:
        for number in passed_over:
            if number >= 0:
                return True
    return False
