"""What somebody has chosen, for as long as nobody chooses otherwise: members of groups, and the mode.

The supervisor keeps it: a worker that takes another's place begins with it, and so does the next run.
"""

from dataclasses import dataclass, field

MODES = ("rule", "global", "direct")
DIRECT = "direct"


@dataclass
class Wishes:
    """choices are members by the names of groups; way is where everything goes in the mode "global"."""

    choices: dict[str, str] = field(default_factory=dict)
    mode: str = "rule"
    way: str = DIRECT
