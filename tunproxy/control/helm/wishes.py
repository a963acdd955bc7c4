"""What somebody has chosen, for as long as nobody chooses otherwise: members of groups, mode, rules.

The supervisor keeps it: a worker that takes another's place begins with it, and so does the next run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

MODES = ("rule", "global", "direct")
DIRECT = "direct"
GLOBAL = "GLOBAL"  # what dashboards call the group through which everything goes in the mode "global"


@dataclass
class Wishes:
    """choices are members by the names of groups; way is where everything goes in the mode "global".

    off are rules, by number, that are switched off in the policy of the generation off_of, and in no other.
    on_change is called, in the supervisor, when mode, way or off are something else.
    """

    choices: dict[str, str] = field(default_factory=dict)
    mode: str = "rule"
    way: str = DIRECT
    off: frozenset[int] = frozenset()
    off_of: int = 0
    on_change: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)

    def everything(self) -> str:
        """Return where all flows go, whatever the rules say; "" where these are asked."""
        return {"rule": "", "direct": DIRECT, "global": self.way}[self.mode]

    def document(self) -> Mapping[str, object]:
        """Return what ``status`` tells of the mode (``StatusPart``)."""
        return {"rule_mode": {"mode": self.mode, "way": self.everything()}}

    def problems(self) -> Sequence[str]:
        """Return nothing: what somebody has chosen is none."""
        return ()
