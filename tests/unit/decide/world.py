"""Rules, ways, names and flows for tests of decisions."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tunproxy.decide.deciding import RuleDecider, Sniffer
from tunproxy.decide.record import RuleBook
from tunproxy.decide.ruling import Ruling
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import Trace
from tunproxy.flow.ports import Abilities
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.rules.compile import compile_rules
from tunproxy.rules.files import parse_rules
from tunproxy.rules.model import RuleSetContent

CLIENT = bytes([10, 0, 0, 2])


class Way:
    """Leads wherever a test says; carries are the protocols that can go there."""

    def __init__(self, verdict: Verdict, carries: Sequence[str] = ("tcp", "udp", "icmp"), *, varies=False):
        self.verdict = verdict
        self.protocols = carries
        self.varies = varies
        self.asked = 0
        self.abilities: Abilities | None = None
        self.doubted = 0  # how often it was asked whether it carries a flow

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        self.asked += 1
        verdict = self.verdict
        return Verdict(verdict.kind, verdict.upstream, verdict.address, verdict.port, verdict.opener, why)

    def constant(self, why: str = "") -> Verdict | None:
        return None if self.varies else self.verdict_for(FlowInfo("tcp", CLIENT, 1, CLIENT, 1), why)

    def tcp_constant(self, why: str = "") -> Verdict | None:
        return self.constant(why)

    def carries(self, info: FlowInfo) -> bool:
        self.doubted += 1
        return info.protocol in self.protocols

    def tcp_abilities(self) -> Abilities | None:
        return self.abilities


def ways() -> dict[str, Way]:
    """Return the usual ones: direct, two proxies, one of them without UDP, and the two that refuse."""
    return {
        "direct": Way(Verdict(DIAL, "direct")),
        "DIRECT": Way(Verdict(DIAL, "direct")),
        "work": Way(Verdict(CONVERSE, "work", "192.0.2.1", 1080)),
        "web": Way(Verdict(OPEN, "web"), ("tcp",)),
        "REJECT": Way(Verdict(REJECT, "reject")),
        "REJECT-DROP": Way(Verdict(DROP, "drop")),
    }


class Known(NamedTuple):
    """A name, as a NameSource tells it."""

    host: str
    whence: str
    candidates: tuple[str, ...]


class Names:
    """Knows the names that a test tells it, by address; counts how often it is asked."""

    def __init__(self, names: Mapping[str, Known] | None = None) -> None:
        self.names = dict(names or {})
        self.asked = 0

    def lookup(self, client: bytes, address: bytes, now: int) -> Known:
        self.asked += 1
        return self.names.get(str(ipaddress.ip_address(address)), Known("", "", ()))


def named(host: str, whence: str = "dns", *others: str) -> Known:
    return Known(host, whence, (host, *others) if host else ())


class Waiters:
    """Stands for whoever opens flows that wait."""

    def __init__(self) -> None:
        self.made: list[FlowInfo] = []

    def opener_for(self, info: FlowInfo) -> object:
        self.made.append(info)
        return self if info.protocol == "tcp" else None


class Texts:
    """Puts a rule into words by its number."""

    def why(self, number: int) -> str:
        return f"rule {number}"


class World:
    """A decider with rules, and all that it asks."""

    def __init__(
        self,
        *lines: str,
        names: Names | None = None,
        processes: object = None,
        sniffer: Sniffer | None = None,
        stages: Sequence[Stage] = (),
        sets: Mapping[str, RuleSetContent] | None = None,
        default: str = "direct",
        wants_names: bool = False,
        has_waiters: bool = True,
        more_ways: Mapping[str, Way] | None = None,
    ) -> None:
        file = parse_rules("\n".join(lines).encode(), "test.rules")
        assert not file.errors, file.errors
        self.ways = {**ways(), **(more_ways or {})}
        self.waiters = Waiters()
        self.rules = compile_rules(file.rules, sets or {}, self.ways)
        self.book = RuleBook.of(file.rules, {}, sets or {})
        self.ruling = Ruling(
            self.rules,
            self.ways,
            default,
            Texts(),
            names=names,
            processes=processes,  # type: ignore[arg-type]  # what a test hands in
            waiters=self.waiters if has_waiters else None,
            wants_names=wants_names,
            generation=7,
        )
        self.decider = RuleDecider(stages, self.ruling, sniffer)

    def decide(self, info: FlowInfo) -> tuple[str, str]:
        """Return upstream and reason of the verdict."""
        verdict = self.decider.decide(info)
        return verdict.upstream, verdict.why


def flow(target: str = "93.184.216.34", port: int = 443, protocol: str = "tcp") -> FlowInfo:
    return FlowInfo(protocol, CLIENT, 40000, ipaddress.ip_address(target).packed, port)


def trace(info: FlowInfo) -> Trace:
    assert isinstance(info.trace, Trace)
    return info.trace
