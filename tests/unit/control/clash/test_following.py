"""Flows as they begin, open and end, to a client of ours."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from tests.unit.control.clash.rig import Rig, talk
from tunproxy import clock
from tunproxy.control.clash.flow_shapes import flow_of
from tunproxy.control.client import follow_flows


def test_client_hears_of_flows_from_now_on(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for worker in rig.workers:
            worker.flow("old.example", 80)
        heard: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        enough = asyncio.Event()

        def follow() -> None:
            for row in follow_flows(Path(rig.path)):
                heard.append(row)
                if row["state"] == "closed":
                    break
            loop.call_soon_threadsafe(enough.set)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        async with rig.workers[1].beginning("localhost", 443):
            while not heard:
                await asyncio.sleep(0.05)
        life = rig.worker.flow("a.example", 80)
        rig.worker.flows.alive.remove(life)
        life.ended_at, life.reason = clock.now() + 1, "closed"
        rig.worker.recent.closed(life)
        await asyncio.wait_for(enough.wait(), 20)
        thread.join(5)
        assert {row["name"] for row in heard} == {"localhost", "a.example"}
        first, last = heard[0], heard[-1]
        assert (first["state"], first["rule"], first["chain"]) == (
            "open",
            "DOMAIN,localhost,DIRECT",
            "direct",
        )
        assert (last["number"], last["reason"], last["chain"]) == (2, "closed", "Sel → s5")
        assert {"process", "uid", "began", "octets_up"} <= last.keys()
        assert not {"condition", "is_chosen"} & last.keys()
        ended = flow_of(last["id"])
        assert ended is not None
        assert ended[1] == last["number"]

    talk(tmp_path, conversation, workers=2)
