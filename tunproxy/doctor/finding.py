"""What was looked at, how it is, and what to do."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How something is. ODD may be meant so; UNKNOWN could not be looked at."""

    FINE = "fine"
    ODD = "odd"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """A sentence about a subject; evidence are lines that show it, mend is a command or an advice."""

    subject: str
    state: State
    says: str
    evidence: tuple[str, ...] = ()
    mend: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the finding as JSON has it."""
        return {
            "subject": self.subject,
            "state": self.state.value,
            "says": self.says,
            "evidence": list(self.evidence),
            "mend": self.mend,
        }
