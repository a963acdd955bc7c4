"""What a case is, and the list of all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.abuse.rig import Rig


@dataclass(frozen=True)
class Case:
    """One thing to try; check returns where the program does as the rule asks, and raises Failed if not."""

    name: str
    group: str
    rule: str  # the RFC, or "robustness" where none speaks of it
    why: str
    check: Callable[[Rig], None]
    needs: str = ""  # of "six", "udp", "hosts": what a program must carry for it to make sense
    tries: int = 1  # what a busy machine may spoil is tried again


CASES: list[Case] = []
Check = Callable[[Rig], None]


def case(group: str, name: str, rule: str, *, needs: str = "", tries: int = 2) -> Callable[[Check], Check]:
    """Add a case to the list; its docstring says why the rule is there."""

    def add(check: Check) -> Check:
        why = (check.__doc__ or "").strip().splitlines()[0]
        CASES.append(Case(name, group, rule, why, check, needs, tries))
        return check

    return add
