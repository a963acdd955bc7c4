"""UNIT and CGROUP: which part of the system made the flow, as systemd sees it."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.rules.facts import INDETERMINATE, MATCHED, NEEDS_PROCESS, NOT_MATCHED, Facts, Matcher
from tunproxy.rules.texts import like

UNIT_TYPES: Final = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")


@final
@mypyc_attr(native_class=True)
class InUnit(Matcher):
    """UNIT: the process runs in this unit or below this slice.

    Units are the parts of a cgroup's path, so `UNIT,app.slice` holds for every program of a desktop. A name
    without a type is a service, as for systemctl. `*` and `?` are allowed.
    """

    def __init__(self, unit: str) -> None:
        self.unit: Final = unit if unit.endswith(UNIT_TYPES) or unit.endswith("*") else unit + ".service"

    def test(self, facts: Facts) -> i64:
        if not facts.has_process():
            return INDETERMINATE
        unit = facts.unit
        if unit is not None and like(unit, self.unit):
            return MATCHED
        cgroup = facts.cgroup
        if cgroup is not None:
            for part in cgroup.split("/"):
                if part and like(part, self.unit):
                    return MATCHED
        return NOT_MATCHED

    def needs(self) -> i64:
        return NEEDS_PROCESS


@final
@mypyc_attr(native_class=True)
class InCgroup(Matcher):
    """CGROUP: the process is in this control group or in one below it. `*` and `?` are allowed."""

    def __init__(self, path: str) -> None:
        self.path: Final = "/" + path.strip("/")
        self.below: Final = "/*" if self.path == "/" else self.path + "/*"

    def test(self, facts: Facts) -> i64:
        if not facts.has_process():
            return INDETERMINATE
        cgroup = facts.cgroup
        if cgroup is None:
            return NOT_MATCHED
        return MATCHED if like(cgroup, self.path) or like(cgroup, self.below) else NOT_MATCHED

    def needs(self) -> i64:
        return NEEDS_PROCESS
