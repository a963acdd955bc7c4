"""Explains flows: those that nobody has made, and those that there are.

A question goes the way of a real flow: the same names, plugins, rules and upstreams. What a real flow brings
with it and a question lacks (its process, its first octets) is what the user says of it, or unknown.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.decide.question import Question
from tunproxy.decide.record import Document, RuleBook, record_of
from tunproxy.decide.ruling import Ruling
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import SNIFFING, WAITING, Owner, Trace, note_owner
from tunproxy.errors import TunproxyError
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.rules.facts import Facts

UNASKED: Final = "the question says nothing of it (--process, --uid)"
NO_CLIENT: Final = {4: bytes(4), 6: bytes(16)}


@dataclass(frozen=True)
class Explainer:
    """What is needed to explain flows of one policy; None: nobody can.

    resolve finds the addresses of a name. owner finds out about a running process by its name or pid.
    worth_waiting tells whether the first octets of a client would be waited for, is_fake whether clients get
    a fake address for a name. client4 and client6 are the packed addresses that flows come from whose
    question does not say.
    """

    ruling: Ruling
    book: RuleBook
    stages: Sequence[Stage] = ()
    resolve: Callable[[str], Awaitable[Sequence[str]]] | None = None
    owner: Callable[[str], Owner | None] | None = None
    worth_waiting: Callable[[str, int], bool] | None = None
    is_fake: Callable[[str], bool] | None = None
    client4: bytes = NO_CLIENT[4]
    client6: bytes = NO_CLIENT[6]

    async def explain(self, question: Question) -> Document:
        """Return the record of the flow that question describes. Raises nothing but programming errors."""
        problem = ""
        addresses: list[str] = [question.address] if question.address else []
        if not addresses and self.resolve is not None:
            try:
                addresses = [str(ipaddress.ip_address(each)) for each in await self.resolve(question.host)]
                problem = "" if addresses else "there is no such name"
            except (OSError, TunproxyError, ValueError) as error:
                problem = str(error)
        document = await self._decided(question, addresses)
        if problem:
            document["inputs"]["address"]["why"] = problem
        return document

    async def _decided(self, question: Question, addresses: Sequence[str]) -> Document:
        """Return the record; addresses are those of the target, best first, none where nobody knows any."""
        info = self._info(question, addresses)
        trace = self.ruling.trace(info)
        facts = trace.facts
        is_fake = not question.address and self.is_fake is not None and self.is_fake(question.host)
        if is_fake:
            trace.is_fake = True
            facts.host_from = info.name_from = "fake-ip"
            info.host = question.host
        if is_fake or not addresses:
            facts.target = b""
            facts.address_asked = not is_fake and self.resolve is not None
        self._tell_process(question, facts)
        verdict = await self._verdict(info, trace, addresses)
        document = record_of(info, verdict, self.book)
        if not question.address:
            document["inputs"]["address"] = self._address(trace, addresses)
        if not addresses or is_fake:
            document["flow"]["target"] = None
        document["question"] = question.to_json()
        document["otherwise"] = None
        if trace.state == SNIFFING:
            facts = trace.facts
            facts.host_asked = True
            otherwise = self.ruling.judge(info, trace, False, False)
            document["otherwise"] = record_of(info, otherwise, self.book)["verdict"]
        return document

    def _info(self, question: Question, addresses: Sequence[str]) -> FlowInfo:
        target = ipaddress.ip_address(addresses[0]).packed if addresses else NO_CLIENT[4]
        client = self.client4 if len(target) == 4 else self.client6
        if question.source:
            client = ipaddress.ip_address(question.source).packed
        info = FlowInfo(question.network, client, question.source_port, target, question.port)
        if question.host:
            info.name = question.host
            info.name_from = "given"
        return info

    def _address(self, trace: Trace, addresses: Sequence[str]) -> Document:
        if not addresses or not (trace.facts.target or trace.addresses):
            why = "not needed" if addresses else "nobody was asked for it"
            return {"value": None, "from": None, "others": [], "why": why}
        return {"value": addresses[0], "from": "resolved", "others": list(addresses[1:]), "why": ""}

    def _tell_process(self, question: Question, facts: Facts) -> None:
        facts.lookup = None
        facts.process_asked = True
        facts.process_why = UNASKED
        if question.process:
            found = self.owner(question.process) if self.owner is not None else None
            if found is not None:
                note_owner(facts, found)
            else:
                facts.process_name = question.process.rpartition("/")[2]
                facts.process_path = question.process if "/" in question.process else None
                facts.process_why = f"no process {question.process!r} is running"
        if question.uid >= 0:
            facts.uid = question.uid

    async def _verdict(self, info: FlowInfo, trace: Trace, addresses: Sequence[str]) -> Verdict:
        sniffs = self.worth_waiting is not None and self.worth_waiting(info.protocol, int(info.target_port))
        for stage in self.stages:
            verdict = stage.decide(info)
            if verdict is not None:
                trace.chosen = await stage.settled(info, verdict)
                sniffs = sniffs and trace.chosen is verdict
                break
        verdict = self.ruling.judge(info, trace, sniffs, True)
        if trace.state == WAITING and (addresses or self.resolve is not None):
            trace.addresses = list(addresses)
            trace.facts.target = info.target if addresses else b""
            trace.facts.address_asked = not addresses
            verdict = self.ruling.judge(info, trace, sniffs, False)
        return verdict
