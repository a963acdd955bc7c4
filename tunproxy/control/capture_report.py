"""What is captured, in force: control groups whose sockets are marked, and what ``status`` says of it all."""

import dataclasses
from collections.abc import Mapping, Sequence

from tunproxy.control.capture import CaptureOptions
from tunproxy.control.serving import warn
from tunproxy.errors import SystemChangeError
from tunproxy.host.cgroups import GroupMarks
from tunproxy.host.scope import Scope


class CaptureReport:
    """options are in force, as far as this kernel can; scope is what they come to."""

    def __init__(self, options: CaptureOptions, scope: Scope) -> None:
        self._options = options
        self._scope = scope
        self._marks: GroupMarks | None = None
        self._problem = ""

    def mark(self) -> Scope:
        """Have the kernel mark the sockets of the control groups; return the scope that is possible.

        Where it cannot, the user is told, and programs of all groups are captured alike.
        """
        groups = self._options.cgroups()
        if groups:
            try:
                self._marks = GroupMarks(groups)
            except SystemChangeError as error:
                self._problem = f"{error}: control groups make no difference to what is captured"
                warn(self._problem)
                self._scope = dataclasses.replace(self._scope, only_cgroups=False, spares_cgroups=False)
        return self._scope

    def close(self) -> None:
        """Have sockets marked no more. May be repeated."""
        if self._marks is not None:
            self._marks.close()
            self._marks = None

    def document(self) -> Mapping[str, object]:
        """Return what was asked for, by the keys of [capture]; what is left out was not."""
        said = dataclasses.asdict(self._options)
        found = {
            name.replace("_", "-"): list(value) if isinstance(value, tuple) else value
            for name, value in said.items()
            if value
        }
        return {"capture": found}

    def problems(self) -> Sequence[str]:
        return [self._problem] if self._problem else []
