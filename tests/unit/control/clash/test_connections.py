"""Lists of flows that are kept up to date, and flows that are ended."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.control.clash.rig import Rig, eventually, talk
from tests.unit.control.clash.shapes import RECORDED, same_shape
from tunproxy.control.clash import shared
from tunproxy.control.clash.connections import FlowList
from tunproxy.control.helm import flow_feed
from tunproxy.flow.life import FlowLife


async def listed(rig: Rig) -> list[dict[str, Any]]:
    await asyncio.sleep(0.1)  # longer than an answer is shared
    return (await rig.get("/connections"))["connections"] or []


def test_flows_come_and_go_and_carry(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        first, second = rig.worker.flow("localhost", 80), rig.workers[1].flow("a.example", 443)
        found = await listed(rig)
        theirs = RECORDED["WS /connections?interval=1000"][0]["connections"][0]
        for each in found:
            same_shape(each, theirs)
        assert [(each["metadata"]["host"], each["chains"], each["rule"]) for each in found] == [
            ("localhost", ["DIRECT"], "Domain"),
            ("a.example", ["s5", "Sel"], "RuleSet"),
        ]
        ids = [each["id"] for each in found]
        first.up, second.down = 7, 9
        assert [(each["upload"], each["download"]) for each in await listed(rig)] == [(7, 0), (0, 9)]
        assert [each["id"] for each in await listed(rig)] == ids
        rig.worker.flows.alive.clear()
        assert [each["id"] for each in await listed(rig)] == ids[1:]
        rig.worker.flow("", 80)
        assert [each["rule"] for each in await listed(rig)] == ["IPCIDR", "RuleSet"]

    talk(tmp_path, conversation, workers=2)


def test_one_flow_is_ended_of_its_worker_only(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for worker in rig.workers:
            worker.flow("a.example", 80)
            worker.flow("b.example", 80)
        found = await listed(rig)
        await rig.ask("DELETE", f"/connections/{found[3]['id']}")
        assert [worker.flows.ended for worker in rig.workers] == [[], [2]]
        assert len((await rig.get("/connections"))["connections"]) == 3
        for wrong in ("nope", "1", "00000000-0000-4000-8000-000000000001", found[3]["id"].replace("8", "9")):
            await rig.ask("DELETE", f"/connections/{wrong}")
        assert [worker.flows.ended for worker in rig.workers] == [[], [2]]
        await rig.ask("DELETE", "/connections")
        assert [worker.flows.ended for worker in rig.workers] == [[1, 2], [2, 1]]
        assert (await rig.get("/connections"))["connections"] is None

    talk(tmp_path, conversation, workers=2)


def test_another_worker_in_a_place_is_asked_for_everything(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        rig.worker.flow("a.example", 80)
        assert len(await listed(rig)) == 1
        feed: Any = rig.worker.helm._flows
        feed._run = "0123456789ab"

        async def is_shown() -> bool:
            return [each["id"][:13] for each in await listed(rig)] == ["01234567-89ab"]

        await eventually(is_shown)

    talk(tmp_path, conversation)


def test_more_flows_than_one_answer_has_are_all_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_feed, "MOST", 3)

    async def conversation(rig: Rig) -> None:
        for port in range(1, 11):
            rig.worker.flow("a.example", port)
        found = await listed(rig)
        assert [each["metadata"]["destinationPort"] for each in found] == [str(port) for port in range(1, 11)]
        rig.worker.flow("a.example", 11)
        assert len(await listed(rig)) == 11

    talk(tmp_path, conversation)


def test_stream_sends_again_and_again(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        async with rig.client.ws_connect("/connections?interval=1") as web_socket:
            assert json.loads((await web_socket.receive(10)).data)["connections"] is None
            rig.worker.flow("a.example", 80)
            while not json.loads((await web_socket.receive(10)).data)["connections"]:
                pass
        async with rig.client.ws_connect("/connections?interval=") as web_socket:  # as if it were not there
            await web_socket.receive(10)
        for wrong in ("x", "-1", "1e3"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await rig.client.ws_connect(f"/connections?interval={wrong}")
            assert error.value.status == 400

    talk(tmp_path, conversation)


def test_hundred_who_look_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FRESH_SECONDS", 60)

    async def conversation(rig: Rig) -> None:
        asked = 0
        feed: Any = rig.worker.helm._flows
        news = feed.news

        def counted(about: Any) -> Any:
            nonlocal asked
            asked += 1
            return news(about)

        flows = FlowList(_Counting(lambda: counted({"since": -1})))  # type: ignore[arg-type]
        for _ in range(3):
            await asyncio.gather(*(flows.current() for _ in range(100)))
        assert asked == 1

    talk(tmp_path, conversation)


class _Counting:
    """Stands for what asks one worker."""

    count = 1

    def __init__(self, ask: Any) -> None:
        self._ask = ask

    async def every(self, asked: Any) -> list[Any]:
        await asyncio.sleep(0)
        return [self._ask() for _ in asked]


def test_lines_are_of_flows_that_began_or_ended_since(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        worker = rig.worker
        worker.flow("old.example", 80)
        flows = FlowList(_Counting(lambda: worker.helm._flows.news({"since": since()})))  # type: ignore[arg-type]

        def since() -> int:
            return flows._told[0].since

        async def look() -> list[str]:
            flows.forget()
            await flows.current()
            return [text for _, _, text in flows.lines]

        assert await look() == []  # what was there before nobody hears of
        worker.flow("localhost", 80)
        ended: FlowLife = worker.flow("a.example", 443)
        worker.flows.alive.remove(ended)
        ended.ended_at, ended.reason = ended.began_at + 5, "not reached: connection refused"
        worker.recent.closed(ended)
        assert sorted(await look()) == [
            "[TCP] 10.0.0.2:4000 --> a.example:443 match RuleSet(d) using Sel[s5] error: not reached: "
            "connection refused",
            "[TCP] 10.0.0.2:4000 --> localhost:80 match Domain(localhost) using DIRECT",
        ]
        assert len(await look()) == 2
        assert {level for _, level, _ in flows.lines} == {"info", "warning"}

    talk(tmp_path, conversation)
