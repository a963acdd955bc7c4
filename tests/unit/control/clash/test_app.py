"""Every endpoint against what a real server answered: status, keys and types."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.control.clash.rig import SECRET, TEST_URL, Rig, talk
from tests.unit.control.clash.shapes import RECORDED, body, differences, keys_beyond, same_shape

FB = quote("FB/\U0001f600 x", safe="")
URL = quote(TEST_URL, safe="")


async def same(rig: Rig, path: str, name: str | None = None) -> Any:
    """Ask, and compare with what was recorded under a name."""
    name = name or f"GET {path}"
    found = await rig.get(path, RECORDED[name]["status"])
    same_shape(found, body(name))
    return found


def test_plain_answers_have_the_shapes_of_the_real_ones(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        assert await same(rig, "/") == {"hello": "clash"}
        version = await same(rig, "/version")
        assert version["meta"] is True
        assert "sing-box" not in version["version"]
        configs = await rig.get("/configs")
        assert differences(configs, body("GET /configs")) == []
        assert keys_beyond(configs, body("GET /configs")) == [".tun.mtu"]
        assert (configs["mode"], configs["tun"]["device"]) == ("rule", "tun7")
        assert await rig.get("/proxies/nope", 404) == body("GET /proxies/nope")
        assert await rig.get("/group/s5", 404) == body("GET /proxies/nope")
        assert await rig.get("/nonsense", 404) == body("GET /proxies/nope")
        assert await same(rig, "/connections") == {
            "downloadTotal": 0, "uploadTotal": 0, "connections": None,
            "memory": pytest.approx(1 << 28, abs=1 << 28),
        }  # fmt: skip
        assert await rig.get("/storage/zashboard") is None
        assert await rig.get("/logs?level=bogus", 400) == body("GET /logs?level=bogus")

    talk(tmp_path, conversation)


def test_proxies_have_the_shapes_of_the_real_ones(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        rig.worker.delays = {"s5": 12}
        await rig.get(f"/proxies/s5/delay?url={URL}&timeout=10000")
        found = (await rig.get("/proxies"))["proxies"]
        theirs = body("GET /proxies")["proxies"]
        kinds = {proxy["type"]: proxy for proxy in theirs.values()}
        assert set(found) == {
            "DIRECT", "REJECT", "REJECT-DROP", "COMPATIBLE", "PASS", "PASS-RULE", "GLOBAL", "s5", "hp", "Sel",
            "Auto", "LB", "FB/\U0001f600 x",
        }  # fmt: skip
        for proxy in found.values():
            like = dict(kinds[proxy["type"]])
            if proxy["name"] == "s5":
                like = body("GET /proxies/s5")
            assert differences(proxy, like, proxy["name"]) == []
            assert keys_beyond(proxy, like) == []
        assert found["GLOBAL"]["all"][:3] == ["DIRECT", "REJECT", "REJECT-DROP"]
        assert found["GLOBAL"]["all"][-4:] == ["Sel", "Auto", "FB/\U0001f600 x", "LB"]
        assert found["s5"]["extra"][TEST_URL]["history"][0]["delay"] == 12
        assert found["s5"]["history"] == found["s5"]["extra"][TEST_URL]["history"]
        groups = await rig.get("/group")
        assert {group["name"] for group in groups["proxies"]} == {
            name for name, proxy in found.items() if "all" in proxy
        }
        same_shape(await rig.get("/group/Auto"), body("GET /group/Auto"))
        assert (await rig.get(f"/proxies/{FB}"))["type"] == "Fallback"
        providers = await rig.get("/providers/proxies")
        for provider in providers["providers"].values():
            like = {**body("GET /providers/proxies/pp"), "proxies": []}
            assert differences(provider, like, provider["name"]) == []
            assert keys_beyond(provider, like) == []
        assert set(providers["providers"]) == {"default", "Sel", "Auto", "FB/\U0001f600 x", "LB"}
        await rig.ask("PUT", "/providers/proxies/Sel")
        assert (await rig.get("/providers/proxies/Auto"))["vehicleType"] == "Compatible"
        one = await rig.get("/providers/proxies/Auto/s5")
        assert differences(one, body("GET /providers/proxies/pp/in1")) == []
        await rig.ask("GET", "/providers/proxies/Auto/healthcheck")
        assert await rig.get(f"/providers/proxies/Auto/s5/healthcheck?url={URL}&timeout=10000") == {
            "delay": 12
        }

    talk(tmp_path, conversation)


def test_rules_have_the_shapes_of_the_real_ones(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        found = (await same(rig, "/rules"))["rules"]
        expected = {
            (rule["type"], rule["payload"])
            for rule in body("GET /rules")["rules"]
            if rule["payload"] not in ("i", "c")
        }
        assert {(rule["type"], rule["payload"]) for rule in found} - {("IPCIDR", "192.0.2.0/24")} == expected
        assert [rule["index"] for rule in found] == list(range(8))
        assert found[0]["extra"] == {
            "disabled": False, "hitCount": 0, "hitAt": "1970-01-01T00:00:00Z", "missCount": 0,
            "missAt": "1970-01-01T00:00:00Z",
        }  # fmt: skip
        await rig.ask("PATCH", "/rules/disable", {"0": True})
        changed = await same(rig, "/rules", "GET rules after")
        assert changed["rules"][0]["extra"]["disabled"] is True
        sets = await rig.get("/providers/rules")
        theirs = body("GET /providers/rules")["providers"]["d"]
        assert sets["providers"]["d"] == {
            **theirs,
            "ruleCount": 2,
            "updatedAt": sets["providers"]["d"]["updatedAt"],
        }
        await rig.ask("PUT", "/providers/rules/d")
        assert rig.reloader.count == 1

    talk(tmp_path, conversation)


def test_what_is_done_answers_as_the_real_one(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        cases: list[tuple[str, str, str, Any]] = [
            ("PUT /proxies/Sel", "PUT", "/proxies/Sel", {"name": "hp"}),
            ("PUT bad", "PUT", "/proxies/Sel", {"name": "nope"}),
            ("PUT notsel", "PUT", "/proxies/s5", {"name": "s5"}),
            ("PUT notsel", "PUT", "/proxies/LB", {"name": "s5"}),
            ("PUT urltest", "PUT", "/proxies/Auto", {"name": "hp"}),
            ("DELETE /proxies/Auto", "DELETE", "/proxies/Auto", None),
            ("PATCH /configs", "PATCH", "/configs", {"mode": "Rule", "log-level": "warning"}),
            ("PATCH /rules/disable", "PATCH", "/rules/disable", {"0": False}),
            ("POST /cache/fakeip/flush", "POST", "/cache/fakeip/flush", None),
            ("POST /cache/dns/flush", "POST", "/cache/dns/flush", None),
            ("PUT /storage/zashboard", "PUT", "/storage/zashboard", {"a": 1}),
            ("DELETE /storage/zashboard", "DELETE", "/storage/zashboard", None),
            ("DELETE /connections/nope", "DELETE", "/connections/nope", None),
            ("DELETE /connections", "DELETE", "/connections", None),
        ]
        for name, method, path, given in cases:
            recorded = RECORDED[name]
            found = await rig.ask(method, path, given, recorded["status"])
            assert (found or "") == recorded["body"], name

    talk(tmp_path, conversation)


def test_pinned_member_shows_and_delay_tests_answer_as_the_real_ones(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        await rig.ask("PUT", "/proxies/Auto", {"name": "hp"})
        pinned = await rig.get("/proxies/Auto")
        same_shape(pinned, body("GET Auto fixed"))
        assert pinned["fixed"] == "hp"
        for name in ("GET /proxies/DIRECT/delay", "GET /proxies/s5/delay"):
            path = f"{name.removeprefix('GET ')}?url={URL}&timeout=10000"
            recorded = next(value for key, value in RECORDED.items() if key.startswith(name))
            assert await rig.get(path, recorded["status"]) == recorded["body"]
        recorded = next(value for key, value in RECORDED.items() if key.startswith("GET /group/Auto/delay"))
        assert await rig.get(f"/group/Auto/delay?url={URL}&timeout=10000", 504) == recorded["body"]
        assert (await rig.get("/proxies/Auto"))["fixed"] == ""
        rig.worker.delays = {"hp": 7}
        assert await rig.get("/group/Auto/delay?timeout=10000") == {"hp": 7}

    talk(tmp_path, conversation)


def test_streams_have_the_shapes_of_the_real_ones(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        rig.worker.flow("localhost", 443)
        for path in ("/traffic", "/memory", "/connections?interval=100"):
            theirs = RECORDED[f"WS {path}" if "=" not in path else "WS /connections?interval=1000"]
            async with rig.client.ws_connect(path) as socket:
                ours = [json.loads((await socket.receive(10)).data) for _ in range(2)]
            assert differences(ours[0], theirs[0]) == []
            assert keys_beyond(ours[0], theirs[0]) == []
            if path == "/memory":
                assert ours[0] == theirs[0]
                assert ours[1]["inuse"] > 0
            if "=" not in path:
                async with rig.client.get(path) as answer:
                    assert json.loads(await answer.content.readline()).keys() == ours[0].keys()
        async with (
            rig.client.ws_connect("/logs?level=debug") as socket,
            rig.client.ws_connect("/logs?level=debug&format=structured") as other,
            rig.worker.beginning("localhost", 443),
        ):
            line = json.loads((await socket.receive(10)).data)
            while "localhost" not in line["payload"]:
                line = json.loads((await socket.receive(10)).data)
            same_shape(line, RECORDED["WS /logs?level=debug"][0])
            structured = json.loads((await other.receive(10)).data)
            same_shape(structured, RECORDED["WS /logs?level=debug&format=structured"][0])
        assert line == {
            "type": "info",
            "payload": "[TCP] 10.0.0.2:4000 --> localhost:443 match Domain(localhost) using DIRECT",
        }

    talk(tmp_path, conversation)


def test_native_endpoints_are_there_too(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        assert await rig.get("/status") == {"name": "tun7"}
        async with rig.local.get("/version") as answer:  # the Unix socket asks for no secret
            assert (await answer.json())["meta"] is True
        async with rig.stranger.get("/status") as answer:
            assert (answer.status, await answer.json()) == (401, body("GET /version noauth"))
        assert SECRET not in await (await rig.local.get("/configs")).text()

    talk(tmp_path, conversation)
