"""Entries of flows, and flows that a policy of the tree has decided."""

import contextlib
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.unit.control.helm.world import keeping
from tests.unit.control.policies import built, written
from tunproxy import clock
from tunproxy.control.history.entry import entry_of
from tunproxy.control.history.replay import Replay
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.decide.recent import RecentFlows
from tunproxy.decide.trace import Owner
from tunproxy.flow.life import FlowLife
from tunproxy.flow.verdict import SNIFF, FlowInfo

UPSTREAMS = '[dns]\nmode = "off"\n[upstreams.work]\ntype = "socks5"\nserver = "127.0.0.1"\nport = 1\n'
CLIENT = "10.0.0.2"


def text_of(*rules: str, more: str = UPSTREAMS) -> str:
    return f"rules = [{', '.join(map(repr, rules))}]\n{more}"


def entry(**changes: Any) -> dict[str, Any]:
    """Return an entry: curl to www.example.com:443, whose name DNS told, through direct by default."""
    found: dict[str, Any] = {
        "version": 1,
        "began": 1_000.0,
        "ended": 1_002.0,
        "seconds": 2.0,
        "number": 7,
        "generation": 1,
        "protocol": "tcp",
        "client": CLIENT,
        "client_port": 4000,
        "target": "192.0.2.1",
        "target_port": 443,
        "name": "www.example.com",
        "name_from": "dns",
        "process": {"name": "curl", "path": "/usr/bin/curl", "uid": 1000, "why": ""},
        "verdict": "dial",
        "decided_by": "default",
        "way": "direct",
        "upstream": "direct",
        "chain": "direct",
        "rule": None,
        "place": None,
        "observed": [],
        "up": 10,
        "down": 2000,
        "reason": "closed",
        "why": None,
        "facts": {
            "host": "www.example.com",
            "host_from": "dns",
            "target": ip_address("192.0.2.1").packed.hex(),
            "is_fake": False,
            "cannot": [],
            "process_asked": True,
            "process_name": "curl",
            "process_path": "/usr/bin/curl",
            "uid": 1000,
        },
    }
    facts = {**found["facts"], **changes.pop("facts", {})}
    return {**found, "facts": facts, **changes}


class Live:
    """Decides flows by the rules of a configuration, and has their entries."""

    def __init__(self, keeper: PolicyKeeper) -> None:
        self.keeper = keeper
        self.recent = RecentFlows(100)

    def life(
        self,
        target: str = "192.0.2.1",
        port: int = 443,
        protocol: str = "tcp",
        *,
        name: str = "",
        says: bytes = b"",
        owner: Owner | None = None,
    ) -> FlowLife:
        """Decide a flow; return it, over. says is what its client says first."""
        info = FlowInfo(protocol, ip_address(CLIENT).packed, 4000, ip_address(target).packed, port)
        if name:
            info.name, info.name_from = name, "dns"
        decider = self.keeper.decider
        verdict = decider.decide(info)
        if verdict.kind == SNIFF:
            found = decider.decide_sniffed(info, says)
            assert found is not None
            verdict = found
        life = FlowLife(self.recent.number(), info, verdict, clock.now() - 2_000_000)
        life.opened_at = life.began_at
        life.ended_at = life.began_at + 1_000_000
        life.reason, life.up, life.down = "closed", 10, 2000
        return life

    def entry(self, *arguments: Any, reasons: bool = True, **more: Any) -> dict[str, Any]:
        life = self.life(*arguments, **more)
        return entry_of(life, clock.now(), 0.0, more.get("owner"), reasons=reasons)


@contextlib.contextmanager
def live(folder: Path, *rules: str, more: str = UPSTREAMS) -> Iterator[Live]:
    with keeping(folder, text=text_of(*rules, more=more)) as keeper:
        yield Live(keeper)


def replay_by(folder: Path, *rules: str, more: str = UPSTREAMS) -> Replay:
    """Return the replay of these rules."""
    return Replay(built(written(folder, text_of(*rules, more=more))))


def targets(replay: Replay, entries: Sequence[dict[str, Any]]) -> list[str]:
    return [replay.answer(each).target for each in entries]
