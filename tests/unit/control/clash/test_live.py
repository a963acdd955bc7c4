"""Rates, sizes and the log, as they go on."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from tests.unit.control.clash.rig import Rig, talk
from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.live import Totals
from tunproxy.wire.vnet import VNET_LEN


def test_rates_are_of_a_second_and_totals_of_the_whole(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        async with rig.client.ws_connect("/traffic") as web_socket:
            found = json.loads((await web_socket.receive(10)).data)
            assert found == {"up": 0, "down": 0, "upTotal": 0, "downTotal": 0}
            for worker in rig.workers:
                worker.counters.frames_in, worker.counters.bytes_in = 2, 10_000 + 2 * VNET_LEN
                worker.counters.frames_out, worker.counters.bytes_out = 1, 3_000 + VNET_LEN
            while not found["up"]:
                found = json.loads((await web_socket.receive(10)).data)
            assert (found["upTotal"], found["downTotal"]) == (20_000, 6_000)
            assert found["up"] > 3 * found["down"] > 1000
            for worker in rig.workers:  # replaced: counts begin anew
                worker.counters.bytes_in = worker.counters.bytes_out = 0
            while found["upTotal"]:
                found = json.loads((await web_socket.receive(10)).data)
            assert (found["up"], found["down"]) == (0, 0)

    talk(tmp_path, conversation, workers=2)


def test_log_has_what_workers_and_the_supervisor_say(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        log = logging.getLogger("tunproxy.x")

        async def go_on() -> None:
            while True:
                log.info("unheard")
                log.warning("%s happens", "it")
                await asyncio.sleep(0.2)

        task = asyncio.create_task(go_on())
        async with rig.client.ws_connect("/logs?level=warning") as web_socket:
            found = json.loads((await web_socket.receive(20)).data)
            assert found == {"type": "warning", "payload": "it happens"}
        task.cancel()
        async with rig.client.get("/logs") as answer, rig.worker.beginning("localhost", 80):
            line = b""  # info, as a plain stream
            while b"localhost:80" not in line:
                line = await answer.content.readline()
            assert json.loads(line)["type"] == "info"

    talk(tmp_path, conversation)


def test_every_name_of_a_level_is_taken(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for level in ("trace", "debug", "INFO", "warning", "warn", "error", "fatal", "panic", "silent", ""):
            async with rig.client.ws_connect(f"/logs?level={level}"):
                pass
        await rig.get("/logs?level=loud", 400)

    talk(tmp_path, conversation)


def test_totals_are_those_of_all_who_answer() -> None:
    class Two:
        async def each(self, what: str) -> list[dict[str, int]]:
            return [{"up": 1, "down": 2, "memory": 3}, {"up": 10, "down": 20, "memory": 30}]

    two: Any = Two()
    asking: Asking = two
    assert asyncio.run(Totals(asking)()) == (11, 22, 33)  # type: ignore[arg-type]
