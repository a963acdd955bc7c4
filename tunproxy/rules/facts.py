"""What is known of a flow when rules are asked, and what may still be found out.

A fact is known, unknown for now, or unknown for good. Only the second makes a rule indeterminate: then
``needs`` says what to find out, and the rules are asked again. A fact that nobody can find out counts
as one that no rule's value equals.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

# What a condition answers.
NOT_MATCHED: Final[i64] = 0
MATCHED: Final[i64] = 1
INDETERMINATE: Final[i64] = 2  # a fact is missing that may still be found out; Facts.needs says which
SKIPPED: Final[i64] = 3  # not asked: no-resolve, and there is no address; counts as not matched
RESULT_NAMES: Final = ("not_matched", "matched", "indeterminate", "skipped")

# What a flow may be missing, as bits of Facts.needs.
NEEDS_NAME: Final[i64] = 1  # the target's host name: look into the first octets
NEEDS_ADDRESS: Final[i64] = 2  # the target's address: resolve the host name
NEEDS_PROCESS: Final[i64] = 4  # the process that made the flow
NEEDS_TIME: Final[i64] = 8  # the time of the week, which the caller has always at hand
NEED_NAMES: Final = ("name", "address", "process", "time")


@mypyc_attr(allow_interpreted_subclasses=True)
class Lookup:
    """Finds out facts of a flow when a rule asks for them, at most once each."""

    def process(self, facts: "Facts") -> bool:
        """Fill in the fields of the process and return True; False: not yet, the caller has to wait.

        A field that cannot be found out keeps None, and process_why says why. Must not block or raise.
        """
        raise NotImplementedError


@final
@mypyc_attr(native_class=True, acyclic=True)
class Facts:
    """One flow as rules see it; whoever learns more fills it in and asks again.

    network is "tcp", "udp" or "icmp". Addresses are packed, 4 or 16 octets, and b"" where unknown. host is in
    lower case without a trailing dot, "" where unknown, and host_from says whence it is ("dns", "sniffed",
    "fake-ip", "given"). With a fake address the target is left b"".
    """

    def __init__(
        self, network: str, source: bytes, source_port: i64, target: bytes, target_port: i64
    ) -> None:
        self.network = network
        self.source = source
        self.source_port = source_port
        self.target = target
        self.target_port = target_port

        self.host = ""
        self.host_from = ""
        self.host_asked = False  # there is no way left to learn a name
        self.address_asked = False  # the name could not be resolved, and will not be

        self.process_asked = False  # the fields below are what there is to know
        self.process_name: str | None = None
        self.process_path: str | None = None
        self.uid: i64 = -1
        self.cgroup: str | None = None  # path below the hierarchy's root, "/system.slice/cron.service"
        self.unit: str | None = None
        self.app: str | None = None  # Flatpak's or Snap's name for the program
        self.process_why = ""  # why one of these is unknown

        self.dscp: i64 = 0
        self.in_port: i64 = 0
        self.in_type = "TUN"
        self.in_user = ""
        self.in_name = ""
        self.rematch_name = ""
        self.minute_of_week: i64 = -1  # Monday 00:00 is 0, by the clock on the wall; -1 where not handed in

        self.no_resolve = False  # while a rule set is asked for a rule that says so

        self.lookup: Lookup | None = None
        self.needs: i64 = 0  # after INDETERMINATE: what to find out
        self.memo = ""  # a text, and the same in lower case, which rules one after the other ask for
        self.memo_lower = ""
        self.decided: i64 = -1  # after a match: the number of the rule that has the target
        # By the number of a list's first rule: which rule of the list was left undecided and is asked first
        # next time; and which one made us resolve the name, before which there was no address.
        self.resume: dict[int, int] | None = None
        self.resolved_for: dict[int, int] | None = None
        self.observed: list[int] | None = None  # rules that were met and only count, among all rules

    def has_process(self) -> bool:
        """Return whether the process fields may be read; if not, needs says that they are missing."""
        if self.process_asked:
            return True
        if self.lookup is not None and self.lookup.process(self):
            self.process_asked = True
            return True
        self.needs |= NEEDS_PROCESS
        return False

    def lower(self, text: str) -> str:
        """Return text in lower case; the last one is remembered."""
        if text is not self.memo:
            self.memo = text
            self.memo_lower = text.lower()
        return self.memo_lower

    def leave(self, offset: i64, number: i64) -> None:
        """Note that a rule, counted within its list, cannot be decided yet; needs says for want of what."""
        if self.resume is None:
            self.resume = {}
        self.resume[int(offset)] = int(number)
        if self.needs & NEEDS_ADDRESS:
            if self.resolved_for is None:
                self.resolved_for = {}
            self.resolved_for[int(offset)] = int(number)

    def observe(self, number: i64) -> None:
        """Note that a rule was met that only counts; once, however often it is asked."""
        if self.observed is None:
            self.observed = []
        if int(number) not in self.observed:
            self.observed.append(int(number))

    def swap(self) -> None:
        """Exchange source and target, for rules with `src`; a second call undoes it."""
        self.source, self.target = self.target, self.source
        port = self.source_port
        self.source_port = self.target_port
        self.target_port = port


@mypyc_attr(allow_interpreted_subclasses=True)
class Matcher:
    """A condition, ready to be asked. Knows nothing of other rules and keeps nothing between two flows."""

    def test(self, facts: Facts) -> i64:
        """Return MATCHED, NOT_MATCHED, INDETERMINATE (then facts.needs has bits added) or SKIPPED."""
        raise NotImplementedError

    def needs(self) -> i64:
        """Return what the condition may have to know, as bits."""
        return 0


@final
@mypyc_attr(native_class=True)
class Always(Matcher):
    """MATCH."""

    def test(self, facts: Facts) -> i64:
        return MATCHED


def need_names(needs: i64) -> list[str]:
    """Return the names of the bits that are set."""
    return [name for bit, name in enumerate(NEED_NAMES) if int(needs) >> bit & 1]
