"""What somebody has chosen, for as long as nobody chooses otherwise: members of groups, mode, rules.

The supervisor keeps it: a worker that takes another's place begins with it, and so does the next run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MODES = ("rule", "global", "direct")
DIRECT = "direct"
GLOBAL = "GLOBAL"  # what dashboards call the group through which everything goes in the mode "global"


@dataclass
class Wishes:
    """choices are members by the names of groups; way is where everything goes in the mode "global".

    off are rules, by number, that are switched off in the policy of the generation off_of, and in no other.
    """

    choices: dict[str, str] = field(default_factory=dict)
    mode: str = "rule"
    way: str = DIRECT
    off: frozenset[int] = frozenset()
    off_of: int = 0

    def document(self) -> Mapping[str, object]:
        """Return what ``status`` tells of the mode (``StatusPart``)."""
        ways = {"rule": "", "direct": DIRECT, "global": self.way}
        return {"rule_mode": {"mode": self.mode, "way": ways[self.mode]}}

    def problems(self) -> Sequence[str]:
        """Return nothing: what somebody has chosen is none."""
        return ()
