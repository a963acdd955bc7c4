"""What is captured, in force: what is marked to be left alone, and what ``status`` says of it all."""

import dataclasses
from collections.abc import Mapping, Sequence

from tunproxy.control.capture import CaptureOptions
from tunproxy.control.serving import warn
from tunproxy.errors import SystemChangeError
from tunproxy.host.answer_marks import AnswerMarks
from tunproxy.host.cgroups import GroupMarks
from tunproxy.host.changes import Change
from tunproxy.host.netlink import Netlink
from tunproxy.host.scope import Scope


class CaptureReport:
    """options are in force, as far as this kernel can; scope is what they come to."""

    def __init__(self, options: CaptureOptions, scope: Scope) -> None:
        self._options = options
        self._scope = scope
        self._marks: GroupMarks | None = None
        self._answers: AnswerMarks | None = None
        self._problems: list[str] = []

    @property
    def kept(self) -> Sequence[Change]:
        """What is to be kept in step with the network."""
        return [self._answers] if self._answers is not None else []

    def mark(self, tun: str, net: Netlink) -> Scope:
        """Have the kernel mark what is to be left alone, of what does not come from tun; return what can be.

        Sockets of control groups, and answers among what is forwarded. Where it cannot, the user is told, and
        all are captured alike.
        """
        self._mark_groups()
        self._mark_answers(tun, net)
        return self._scope

    def _mark_groups(self) -> None:
        groups = self._options.cgroups()
        if groups:
            try:
                self._marks = GroupMarks(groups)
            except SystemChangeError as error:
                self._complain(f"{error}: control groups make no difference to what is captured")
                self._scope = dataclasses.replace(self._scope, only_cgroups=False, spares_cgroups=False)

    def _mark_answers(self, tun: str, net: Netlink) -> None:
        if not self._options.forwarded or self._options.kill_switch:  # that lets no answer past us either
            return
        answers = AnswerMarks(tun, self._scope)
        try:
            answers.apply(net)
        except SystemChangeError as error:
            answers.close()
            self._complain(f"{error}: servers in containers, and behind this host, cannot answer the world")
            return
        self._answers = answers
        self._scope = dataclasses.replace(self._scope, spares_answers=True)

    def _complain(self, problem: str) -> None:
        self._problems.append(problem)
        warn(problem)

    def close(self) -> None:
        """Have nothing marked any more. May be repeated."""
        if self._answers is not None:
            self._answers.close()
            self._answers = None
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
        return self._problems
