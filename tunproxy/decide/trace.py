"""What a verdict rests on, kept as it was, so that a record can be written when somebody asks for one.

Writing costs a hundred times what deciding does, and nobody asks about most flows. So a decision leaves the
facts, the number of the rule and the policy that it is one of, and nothing is put into words.
"""

from typing import TYPE_CHECKING, Final, Protocol, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.rules.facts import Facts, Lookup

if TYPE_CHECKING:
    from tunproxy.decide.ruling import Ruling

# How far a decision has come.
DECIDED: Final[i64] = 0
SNIFFING: Final[i64] = 1  # for the client's first octets
WAITING: Final[i64] = 2  # for what has to be awaited: an address, a process, a plugin


@final
@mypyc_attr(native_class=True, acyclic=True)
class Trace:
    """One flow's decision. It does not refer to its FlowInfo, in which it is kept.

    names are all that the client may mean by the target, the newest first. rule is the one that decided,
    numbered among all rules of all lists, -1 where none did. passed_over are the rules of the main list that
    the flow met whose upstream cannot carry it, and ~rule for those that are switched off. observed are those
    that it met and that only count, numbered among all. asked is who was
    asked before the rules, as (name, milliseconds, the verdict, None, or why there is none that counts).
    """

    def __init__(self, facts: Facts, ruling: "Ruling", at: i64) -> None:
        """at is on the packet path's clock."""
        self.facts: Final = facts
        self.ruling: Final = ruling
        self.at: i64 = at
        self.state: i64 = DECIDED
        self.start: i64 = 0  # the rule of the main list to go on with
        self.rule: i64 = -1
        self.names: tuple[str, ...] = ()
        self.is_fake = False  # the target stands for a name
        self.addresses: list[str] = []  # what the name was resolved to
        self.is_unresolved = False  # it should have been dialled, and nobody knows where it is
        self.sniffer: object = None  # of datagrams, over several of which a name may be spread
        self.sniffed = ""  # the protocol that the first octets spoke
        self.passed_over: list[int] | None = None
        self.observed: list[int] | None = None
        self.asked: tuple[tuple[str, float, object], ...] = ()
        self.chosen: Verdict | None = None  # by a stage; then no rule is asked
        self.verdict: Verdict | None = None


class Owner(Protocol):
    """The process that a flow is of. What cannot be found out is None, and why says why."""

    @property
    def name(self) -> str | None:
        """The program's name."""

    @property
    def path(self) -> str | None:
        """The program's file."""

    @property
    def uid(self) -> int:
        """The user; -1 where unknown."""

    @property
    def cgroup(self) -> str | None:
        """The control group, below the hierarchy's root."""

    @property
    def unit(self) -> str | None:
        """systemd's unit."""

    @property
    def app(self) -> str | None:
        """Flatpak's or Snap's name for the program."""

    @property
    def why(self) -> str:
        """Why something is unknown."""


class ProcessSource(Protocol):
    """Finds out which process a flow is of. target is the address as the client wrote it."""

    def look(self, network: str, source: bytes, source_port: int, target: bytes, port: int) -> Owner | None:
        """Return the owner; None: it takes longer, and search has to be awaited. Must not block or raise."""

    async def search(self, network: str, source: bytes, source_port: int, target: bytes, port: int) -> Owner:
        """Return the owner. Must not raise."""


@final
@mypyc_attr(native_class=True)
class FlowLookup(Lookup):
    """Asks for the process of one flow when a rule, or a reader of its record, wants to know it."""

    def __init__(self, source: ProcessSource, target: bytes) -> None:
        self.source: Final = source
        self.target: Final = target
        self.found: Owner | None = None

    def process(self, facts: Facts) -> bool:
        found = self.source.look(
            facts.network, facts.source, int(facts.source_port), self.target, int(facts.target_port)
        )
        if found is None:
            return False
        self.take(facts, found)
        return True

    def take(self, facts: Facts, found: Owner) -> None:
        """Note what was found out."""
        self.found = found
        note_owner(facts, found)


def note_owner(facts: Facts, found: Owner) -> None:
    """Tell facts whose the flow is."""
    facts.process_asked = True
    facts.process_name = found.name
    facts.process_path = found.path
    facts.uid = found.uid
    facts.cgroup = found.cgroup
    facts.unit = found.unit
    facts.app = found.app
    facts.process_why = found.why


async def search_process(facts: Facts) -> None:
    """Find out the process of a flow, however long it takes."""
    lookup = facts.lookup
    if isinstance(lookup, FlowLookup):
        found = await lookup.source.search(
            facts.network, facts.source, int(facts.source_port), lookup.target, int(facts.target_port)
        )
        lookup.take(facts, found)
    facts.process_asked = True


def note_asked(info: FlowInfo, name: str, milliseconds: float, answer: object) -> None:
    """Note that a stage has asked somebody about a flow, how long that took, and the answer.

    That is a verdict, None for no opinion, or a text that says why there is no answer that counts.
    """
    trace = info.trace
    if isinstance(trace, Trace):
        trace.asked += ((name, milliseconds, answer),)


def note_chosen(info: FlowInfo, verdict: Verdict | None) -> None:
    """Note what somebody has answered who was waited for; None leaves it to the rules."""
    trace = info.trace
    if isinstance(trace, Trace):
        trace.chosen = verdict
        trace.verdict = verdict


def trace_of(info: FlowInfo) -> Trace | None:
    """Return what a flow's verdict rests on; None where every flow gets the same."""
    trace = info.trace
    return trace if isinstance(trace, Trace) else None
