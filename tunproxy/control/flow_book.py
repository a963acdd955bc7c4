"""The flows of one worker, for those who ask: which there are, which ended last, and why each went where.

    flows       a row for each, the newest first
    flow        the why-record of one, by its number
    explain     the why-record of a flow that nobody has made

Answers of all three are documents. What is asked here costs the packet path nothing before somebody asks.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from itertools import islice
from typing import Final

from tunproxy import clock
from tunproxy.control.explaining import answer, explainer_of
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.letters import About, aside
from tunproxy.control.live_names import LiveNames
from tunproxy.control.policy import RuleNames
from tunproxy.decide.explain import Explainer
from tunproxy.decide.recent import RecentFlows
from tunproxy.decide.record import Dial, Document, Ending, RuleBook, record_of
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import Owner, Trace, trace_of
from tunproxy.errors import ConfigError
from tunproxy.flow.life import DROPPED, REFUSED, FlowLife
from tunproxy.flow.verdict import DROP, KIND_NAMES, REJECT, Verdict
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6
from tunproxy.plugin.telling import verdict_of

# our choices
USUAL: Final = 100  # flows that are told of unless somebody asks for more
MOST: Final = 20_000
RESOLVE_SECONDS: Final = 3.0

_REFUSALS: Final = {int(REJECT): REFUSED, int(DROP): DROPPED}


InFront = Callable[[], Stage | None]


def nobody() -> Stage | None:
    """Return who decides in place of the rules: nobody does."""
    return None


class FlowBook:
    """Knows live flows by lives, each a function that lists some, and recent ones. For the loop only.

    in_front returns what decides in place of the rules for now, as a mode does; None: they do. owners finds
    out whose a flow is that somebody asks about; None: nobody does.
    """

    def __init__(
        self,
        lives: Sequence[Callable[[], list[FlowLife]]],
        recent: RecentFlows,
        keeper: PolicyKeeper,
        names: LiveNames,
        in_front: InFront = nobody,
        owners: OwnerSearch | None = None,
    ) -> None:
        self._lives: Final = tuple(lives)
        self._recent: Final = recent
        self._keeper: Final = keeper
        self._names: Final = names
        self._in_front: Final = in_front
        self._owners: Final = owners
        self._explainer: Explainer | None = None
        self._explains = 0  # the generation that explainer is of

    def flows(self, about: About) -> Document:
        """Return rows of flows, the newest first; about has limit, and state: "open", "closed" or ""."""
        limit, state = about.get("limit", USUAL), about.get("state", "")
        if type(limit) is not int or not 0 <= limit <= MOST:
            raise ConfigError(f"cannot show {limit!r} flows: no number from 0 to {MOST}")
        if state not in ("", "open", "closed"):
            raise ConfigError(f"cannot show flows that are {state!r} (open, or closed)")
        alive = self._alive()
        over = self._recent.latest()
        found = [*(alive if state != "closed" else ()), *(over if state != "open" else ())]
        found.sort(key=_number, reverse=True)
        now = clock.now()
        rows = [row_of(life, now) | _owner(life) for life in islice(found, limit)]
        return {"open": len(alive), "kept": len(over), "begun": self._recent.count(), "flows": rows}

    async def flow(self, about: About) -> Document:
        """Return why the flow of a number goes, or went, where it does; raises ConfigError."""
        number = about.get("number")
        if type(number) is not int or not 0 < number < 1 << 62:
            raise ConfigError(f"there is no flow {number!r}")
        life = self._recent.find(number)
        if life is None:
            life = next((each for each in self._alive() if each.number == number), None)
        if life is None:
            raise ConfigError(
                f"there is no flow {number} (any more): tunproxy flows shows those that can be explained"
            )
        owner = await self._owners.find(life) if self._owners is not None else None
        return await aside(partial(why, owner=owner), life, clock.now())

    async def explain(self, about: About) -> Document:
        """Return the record of a question; raises ConfigError."""
        policy = self._keeper.policy
        if self._explainer is None or self._explains != policy.generation:
            client4, client6 = self._clients()
            self._explainer = explainer_of(
                policy,
                names=self._names.table,
                resolve=self._resolve,
                is_fake=policy.dns.server.gives_fake if policy.dns is not None else None,
                client4=client4,
                client6=client6,
            )
            self._explains = policy.generation
        explainer, stage = self._explainer, self._in_front()
        if policy.ruling is not None:
            explainer.ruling.hits.switch_as(policy.ruling.hits)
        if stage is not None:
            explainer = replace(explainer, stages=[stage])
        return await answer(explainer, about.get("question"))

    async def _resolve(self, host: str) -> list[str]:
        """Return the addresses of host, if they can be had while somebody waits for an answer."""
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                return await self._names.resolve(host)
        except TimeoutError:
            raise TimeoutError(f"no resolver has answered in {RESOLVE_SECONDS:g} s") from None

    def _alive(self) -> list[FlowLife]:
        return [life for lives in self._lives for life in lives()]

    def _clients(self) -> tuple[bytes, bytes]:
        """Return where clients are, as far as we have seen any."""
        found = {4: TUN_IPV4.ip.packed, 6: TUN_IPV6.ip.packed}
        for life in [*self._recent.latest(), *self._alive()]:
            found[4 if len(life.info.client) == 4 else 6] = life.info.client
        return found[4], found[6]


def why(life: FlowLife, now: int, *, nearest: int = 0, owner: Owner | None = None) -> Document:
    """Return the why-record of a flow. It asks the rules again, as they were; the rest as ``record_of``."""
    info = life.info
    trace = trace_of(info)
    naming = trace.ruling.naming if trace is not None else None
    book = naming.book if isinstance(naming, RuleNames) else RuleBook()
    dials = [Dial(where, took / 1000, failure) for where, took, failure in life.attempts()]
    is_over = life.ended_at >= 0
    lasted = int((life.ended_at if is_over else now) - life.began_at) / 1e6
    ending = Ending(_reason(life, verdict_of(life)), lasted, int(life.up), int(life.down))
    return record_of(
        info,
        life.verdict,
        book,
        number=int(life.number),
        dials=dials,
        ending=ending if is_over else None,
        so_far=None if is_over else ending,
        nearest=nearest,
        owner=owner,
    )


def row_of(life: FlowLife, now: int) -> Document:
    """Return what a list of flows has of one."""
    info = life.info
    trace = trace_of(info)
    verdict = verdict_of(life)
    is_over = life.ended_at >= 0
    return {
        "number": int(life.number),
        "state": "closed" if is_over else "open" if life.opened_at >= 0 else "opening",
        "protocol": info.protocol,
        "client": _text(info.client),
        "client_port": int(info.client_port),
        "target": _text(info.target),
        "target_port": int(info.target_port),
        "name": info.name or None,
        "name_from": info.name_from or None,
        "verdict": KIND_NAMES[verdict.kind],
        "upstream": verdict.upstream,
        "chain": verdict.chain or verdict.upstream,
        "rule": _rule(trace),
        "why": verdict.why,
        "octets_up": int(life.up),
        "octets_down": int(life.down),
        "age_seconds": round(int(now - life.began_at) / 1e6, 3),
        "seconds": round(int((life.ended_at if is_over else now) - life.began_at) / 1e6, 3),
        "reason": _reason(life, verdict) or None,
    }


def _owner(life: FlowLife) -> Document:
    """Return whose a flow is, where a rule has asked for that; nothing is looked up."""
    trace = trace_of(life.info)
    if trace is None or (not trace.facts.process_name and trace.facts.uid < 0):
        return {}
    facts = trace.facts
    return {
        "process": facts.process_name or "",
        "process_path": facts.process_path or "",
        "uid": int(facts.uid),
    }


def _reason(life: FlowLife, verdict: Verdict) -> str:
    """Return how a flow ended. One that waited, and was refused, looks to the packet path like a failure."""
    if life.ended_at >= 0 and life.opened_at < 0 and verdict.kind in _REFUSALS:
        return _REFUSALS[int(verdict.kind)]
    return life.reason


def _rule(trace: Trace | None) -> str | None:
    """Return the rule that decided, None where none did."""
    if trace is None or trace.chosen is not None or trace.rule < 0:
        return None
    naming = trace.ruling.naming
    return naming.text(int(trace.rule)) if isinstance(naming, RuleNames) else None


def _number(life: FlowLife) -> int:
    return int(life.number)


def _text(packed: bytes) -> str:
    return str(ip_address(packed))
