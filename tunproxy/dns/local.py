"""What is answered without asking anybody: hosts, fake addresses, and what is refused."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from tunproxy.clock import Micros
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.hosts import Hosts
from tunproxy.dns.message import ANY, FORMERR, IN, IXFR, NOERROR, OPT, PTR, REFUSED, A, Answer, Question

_DISCOVERY: Final = ("resolver.arpa", ".resolver.arpa")  # how clients find ways round us (RFC 9462 §4)


class LocalAnswers:
    """Answers from hosts and fakes, counted in counts.

    wants_fake tells which names get fake addresses, instead of the pool's own filter.
    """

    def __init__(
        self,
        hosts: Hosts,
        fakes: FakePool | None,
        wants_fake: Callable[[str], bool] | None,
        counts: Counter[str],
    ) -> None:
        self._hosts: Final = hosts
        self._fakes: Final = fakes
        self._wants_fake: Final = wants_fake or (fakes.wants if fakes is not None else _nobody)
        self._counts: Final = counts

    def has_changed(self, now: Micros) -> bool:
        """Tell whether answers are others than the last time that somebody asked for this."""
        return self._hosts.has_changed(now)

    def alias(self, host: str, now: Micros) -> str:
        """Return the name that the user made host an alias of, "" for none."""
        return self._hosts.alias(host, now)

    def wants_fake(self, host: str) -> bool:
        """Tell whether host is to have fake addresses."""
        return self._fakes is not None and self._wants_fake(host)

    def gives_fake(self, host: str, now: Micros) -> bool:
        """Tell whether who asks for host is answered with fake addresses: hosts come first."""
        if not self.wants_fake(host) or host.endswith(_DISCOVERY):
            return False
        return self._hosts.answer(host, A, now) is None and not self._hosts.alias(host, now)

    def real(self, host: str, kind: int, now: Micros) -> Answer | None:
        """Return the answer with addresses that are none of ours."""
        return self._hosts.answer(host, kind, now)

    def answer(self, question: Question, now: Micros) -> Answer | None:
        """Return the answer, None where somebody has to be asked."""
        kind = question.type
        if question.klass != IN or IXFR <= kind <= ANY:
            self._counts["refused"] += 1
            return Answer(REFUSED)
        if kind == OPT:
            return Answer(FORMERR)
        host = question.host
        answer = self._hosts.answer(host, kind, now)
        if answer is not None:
            self._counts["hosts"] += 1
            return answer
        if host.endswith(_DISCOVERY):
            return Answer(NOERROR)
        if self._fakes is None:
            return None
        if kind == PTR:
            answer = self._fakes.pointer(host)
        elif self._wants_fake(host) and not self._hosts.alias(host, now):
            answer = self._fakes.answer(host, kind)
        if answer is not None:
            self._counts["fake"] += 1
        return answer


def _nobody(host: str) -> bool:
    return False
