"""Draw what `tunproxy top` shows, as docs/top.svg, from flows that nobody has made: top_picture.py FILE."""

import asyncio
import random
import re
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

from tunproxy.cli.top import app as program
from tunproxy.cli.top import asking
from tunproxy.cli.top.flows import LiveFlows
from tunproxy.cli.top.view import View

SIZE = (100, 26)
LOOKS = 30
EXPLAINED = 2  # the number of the flow that the pane is about
FLOWS = (  # process, name, port, protocol, rule, way, octets a second up and down
    ("apt", "deb.example", 80, "tcp", "DOMAIN-SUFFIX,deb.example,DIRECT", "direct", 9_000, 4_100_000),
    ("firefox", "video.example", 443, "tcp", "MATCH,work", "work → node-3", 21_000, 1_300_000),
    ("git", "code.example", 22, "tcp", "PROCESS-NAME,git,work", "work → node-1", 240_000, 90_000),
    ("firefox", "cdn.example", 443, "udp", "MATCH,work", "work → node-3", 4_000, 61_000),
    ("ssh", "jump.example", 22, "tcp", "DST-PORT,22,DIRECT", "direct", 700, 900),
    ("chronyd", None, 123, "udp", "DST-PORT,123,DIRECT", "direct", 0, 0),
    ("firefox", "mail.example", 443, "tcp", "MATCH,work", "work → node-3", 0, 0),
    ("thunderbird", "imap.example", 993, "tcp", "MATCH,work", "work → node-3", 0, 0),
)
RECORD: dict[str, Any] = {
    "flow": {"protocol": "tcp", "target": "203.0.113.7", "target_port": 443},
    "inputs": {
        "name": {"value": "video.example", "from": "dns", "others": [], "why": ""},
        "address": {"value": "203.0.113.7", "from": "client", "others": [], "why": ""},
        "process": {
            "name": "firefox", "path": "/usr/bin/firefox", "uid": 1000, "cgroup": None, "unit": None,
            "app": None, "pid": 2114, "argv0": None, "slice": None, "container": None,
            "container_name": None, "why": "",
        },
        "time": None,
        "protocol_spoken": None,
    },
    "plugins": [],
    "rules": [
        {"number": 4, "list": None, "text": "MATCH,work", "target": "work", "file": "tunproxy.toml",
         "line": 9, "result": "matched", "why": "it matches everything"},
    ],
    "verdict": {
        "kind": "open", "upstream": "node-3", "chain": "work → node-3", "address": None, "port": None,
        "decided_by": "rule", "why": "", "needs": [],
        "rule": {"number": 4, "list": None, "text": "MATCH,work", "file": "tunproxy.toml", "line": 9},
    },
    "dials": [{"where": "node-3", "milliseconds": 31.2, "failure": ""}],
    "open": None,  # which is what the flow has carried
    "closed": None,
}  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Return what is told of the flows at first."""
    now = time.time()
    return [
        {
            "number": number, "id": "", "state": "open", "protocol": protocol, "client": "192.0.2.7",
            "client_port": 40_000 + number, "target": "203.0.113.7", "target_port": port, "name": name,
            "chain": way, "rule": rule, "why": "", "octets_up": 0, "octets_down": 0, "seconds": 0.0,
            "reason": None, "began": now - 7.5 * number**2, "process": process, "uid": 1000,
        }
        for number, (process, name, port, protocol, rule, way, *_) in enumerate(FLOWS, 1)
    ]  # fmt: skip


async def draw() -> str:
    """Return the picture."""
    chance = random.Random(1)
    flows = LiveFlows()
    carried = {number: [0, 0] for number in range(1, len(FLOWS) + 1)}
    flows.take({"seconds": 0.0, "has_more": False, "rows": rows(), "octets": [], "gone": []})
    for second in range(1, LOOKS):
        for number, (*_, up, down) in enumerate(FLOWS, 1):
            carried[number][0] += int(up * chance.uniform(0.4, 1.4))
            carried[number][1] += int(down * chance.uniform(0.4, 1.4))
        octets = [[number, *both] for number, both in carried.items()]
        told = {"seconds": float(second), "has_more": False, "rows": [], "octets": octets, "gone": []}
        flows.take(told)
    up, down = carried[EXPLAINED]
    record = RECORD | {"open": {"seconds": 7.5 * EXPLAINED**2, "octets_up": up, "octets_down": down}}
    with mock.patch.object(program, "Feed"), mock.patch.object(asking, "fetch_flow", return_value=record):
        app = program.TopApp(View(flows), "", "", 1.0)
        async with app.run_test(size=SIZE) as pilot:
            app._who = "tunproxy0"
            app.redraw()
            await pilot.press("down", "e")
            await pilot.pause(2 * program.EXPLAIN_SECONDS)
            await app.workers.wait_for_complete()
            await pilot.pause()
            picture = app.export_screenshot(title="tunproxy top")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # nothing is fetched for it
    return "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(draw()))
