"""Lists of flows, and why each went where."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.policies import plugins_for, written
from tests.unit.control.policies import sources_of as sources
from tests.unit.decide.test_trace import Program, Programs
from tests.unit.dns.world import Turns
from tunproxy import clock
from tunproxy.control import flow_book, keeper
from tunproxy.control.flow_book import FlowBook
from tunproxy.control.flow_filter import parse_filter
from tunproxy.control.helm.modes import OneWay
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.live_names import LiveNames
from tunproxy.decide.question import parse_question
from tunproxy.decide.recent import RecentFlows
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import note_owner, trace_of
from tunproxy.decide.words import describe_record
from tunproxy.errors import ConfigError
from tunproxy.flow.life import FlowLife
from tunproxy.flow.verdict import FlowInfo
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.sockets import KernelSockets

TEXT = 'rules = ["DST-PORT,80,REJECT", "DST-PORT,443,DIRECT"]\n[dns]\nmode = "off"\n'


class Place:
    """A book of one policy, with flows that a test makes."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        sockets = KernelSockets(0, "")
        self.names = LiveNames(loop, Turns(), sockets, AsyncDialer(loop, sockets))
        self.keeper = PolicyKeeper(sources(path))
        self.recent = RecentFlows(10)
        self.alive: list[FlowLife] = []
        self.front: Stage | None = None
        self.book = FlowBook((lambda: self.alive,), self.recent, self.keeper, self.names, lambda: self.front)

    def begin(self, port: int) -> FlowLife:
        info = FlowInfo("tcp", bytes([10, 0, 0, 2]), 4000, bytes([192, 0, 2, 1]), port)
        life = FlowLife(self.recent.number(), info, self.keeper.decider.decide(info), clock.now() - 2_000_000)
        self.alive.append(life)
        return life

    def end(self, life: FlowLife, reason: str) -> None:
        self.alive.remove(life)
        life.reason = reason
        life.ended_at = life.began_at + 1_000_000
        self.recent.closed(life)


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "load_plugins", plugins_for)


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    loop = asyncio.new_event_loop()
    yield Place(written(folder, TEXT), loop)
    loop.close()


def test_rows_are_of_open_and_closed_flows_the_newest_first(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        refused, opened, opening = made.begin(80), made.begin(443), made.begin(9)
        opened.opened_at = opened.began_at
        opened.up = 5
        made.end(refused, "refused")
        told = made.book.flows({})
        assert (told["open"], told["kept"], told["begun"]) == (2, 1, 3)
        assert [(row["number"], row["state"], row["reason"]) for row in told["flows"]] == [
            (3, "opening", None),
            (2, "open", None),
            (1, "closed", "refused"),
        ]
        assert [(row["rule"], row["verdict"]) for row in told["flows"]] == [
            (None, "dial"),
            ("DST-PORT,443,DIRECT", "dial"),
            ("DST-PORT,80,REJECT", "reject"),
        ]
        assert told["flows"][1]["octets_up"] == 5
        assert told["flows"][2]["seconds"] == 1.0
        assert 2 <= told["flows"][2]["age_seconds"] < 10
        assert opening.number == 3
        assert [row["number"] for row in made.book.flows({"limit": 1})["flows"]] == [3]
        assert [row["number"] for row in made.book.flows({"state": "closed"})["flows"]] == [1]
        assert [row["number"] for row in made.book.flows({"state": "open"})["flows"]] == [3, 2]


def test_row_says_whose_a_flow_is_where_a_rule_has_asked(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        asked, other = made.begin(443), made.begin(443)
        trace = trace_of(asked.info)
        assert trace is not None
        note_owner(trace.facts, Program())
        rows = made.book.flows({})["flows"]
        assert [row.get("process") for row in rows] == [None, "curl"]
        assert (rows[1]["process_path"], rows[1]["uid"]) == ("/usr/bin/curl", 1000)
        assert "process" not in rows[0]
        assert parse_filter("process:curl user:1000").fits(rows[1])
        assert other.number == 2


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"limit": "many"}, {"limit": True}, {"state": "ajar"}])
def test_what_cannot_be_listed_is_told(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with place(tmp_path) as made, pytest.raises(ConfigError, match="cannot show"):
        made.book.flows(wrong)


def test_flow_is_explained_open_and_closed(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        life = made.begin(443)
        record = asyncio.run(made.book.flow({"number": 1}))
        assert [rule["result"] for rule in record["rules"]] == ["not_matched", "matched"]
        assert (record["open"]["octets_up"], record["closed"]) == (0, None)
        life.up = 7
        made.end(life, "closed")
        record = asyncio.run(made.book.flow({"number": 1}))
        assert record["open"] is None
        assert record["closed"] == {"reason": "closed", "seconds": 1.0, "octets_up": 7, "octets_down": 0}
        assert record["verdict"]["rule"]["line"] == 1


def test_flow_is_explained_with_its_process_where_no_rule_asked(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        programs = Programs(Program())
        made.book = FlowBook(
            (lambda: made.alive,), made.recent, made.keeper, made.names, owners=OwnerSearch(programs)
        )
        life, other = made.begin(443), made.begin(80)
        record = asyncio.run(made.book.flow({"number": 1}))
        process = record["inputs"]["process"]
        assert (process["name"], process["uid"], process["why"]) == ("curl", 1000, "")
        assert "process    curl (/usr/bin/curl), user 1000, unit app.scope" in describe_record(record)
        made.end(life, "closed")
        made.end(other, "closed")
        asked = list(programs.asked)
        record = asyncio.run(made.book.flow({"number": 2}))
        assert record["inputs"]["process"]["why"] == "no rule has asked"
        assert programs.asked == asked, "whose flow is over nobody can find out"


@pytest.mark.parametrize("number", [2, 0, -1, "1", None, 1 << 70])
def test_flow_that_there_is_not_is_told(tmp_path: Path, number: object) -> None:
    with place(tmp_path) as made:
        made.begin(443)
        with pytest.raises(ConfigError, match="there is no flow"):
            asyncio.run(made.book.flow({"number": number}))


def test_question_is_answered_by_the_policy_that_there_is(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        made.begin(9)
        asked = {"question": parse_question("192.0.2.9:80").to_json()}
        record = asyncio.run(made.book.explain(asked))
        assert (record["verdict"]["kind"], record["flow"]["client"]) == ("reject", "10.0.0.2")
        with pytest.raises(ConfigError, match="this is no question"):
            asyncio.run(made.book.explain({}))


def test_question_is_answered_by_the_rules_that_are_switched_on(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        asked = {"question": parse_question("192.0.2.9:80").to_json()}
        kinds = []
        for is_off in (False, True, False):
            ruling = made.keeper.policy.ruling
            assert ruling is not None
            ruling.hits.switch(0, is_off)
            record = asyncio.run(made.book.explain(asked))
            kinds.append(record["verdict"]["kind"])
            assert (record["rules"][0]["result"] == "skipped") is is_off
        assert kinds == ["reject", "dial", "reject"]


def test_question_is_answered_by_the_mode_in_force(tmp_path: Path) -> None:
    with place(tmp_path) as made:
        asked = {"question": parse_question("192.0.2.9:80").to_json()}
        made.front = OneWay(made.keeper.policy.parts.ways["direct"], "mode direct")
        verdict = asyncio.run(made.book.explain(asked))["verdict"]
        assert (verdict["kind"], verdict["upstream"], verdict["why"]) == ("dial", "direct", "mode direct")
        made.front = None
        assert asyncio.run(made.book.explain(asked))["verdict"]["kind"] == "reject"


def test_resolver_that_does_not_answer_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_book, "RESOLVE_SECONDS", 0.05)

    async def never(host: str) -> list[str]:
        await asyncio.sleep(60)
        return []

    with place(tmp_path) as made:
        monkeypatch.setattr(made.names, "resolve", never)
        record = asyncio.run(made.book.explain({"question": parse_question("a.example").to_json()}))
        assert record["inputs"]["address"]["why"] == "no resolver has answered in 0.05 s"


def test_flow_that_waited_and_is_refused_says_so(tmp_path: Path) -> None:
    with place(tmp_path) as here:
        life = here.begin(80)  # which rules refuse
        here.end(life, "not reached: connection refused")
        assert flow_book.row_of(life, clock.now())["reason"] == "refused"
        assert flow_book.why(life, clock.now())["closed"]["reason"] == "refused"
        other = here.begin(443)
        here.end(other, "not reached: connection refused")
        assert flow_book.row_of(other, clock.now())["reason"] == "not reached: connection refused"
