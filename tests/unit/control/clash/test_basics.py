"""What can be changed of a configuration, and what cannot."""

from pathlib import Path

import pytest

from tests.unit.control.clash.rig import Rig, talk
from tunproxy.control.clash.basics import document_of
from tunproxy.control.config.schema import Config, DeviceConfig, DnsConfig
from tunproxy.control.reload import ReloadError


def test_mode_is_changed_and_shown(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        told: list[str] = []  # to who goes by it outside of workers
        rig.wishes.on_change = lambda: told.append(rig.wishes.everything())
        await rig.ask("PUT", "/proxies/GLOBAL", {"name": "hp"})
        await rig.ask("PATCH", "/configs", {"mode": "Global"})
        assert told == ["", "hp"]
        assert (await rig.get("/configs"))["mode"] == "global"
        for worker in rig.workers:
            assert worker.flow("localhost", 80).verdict.upstream == "hp"
        await rig.ask("PATCH", "/configs", {"mode": "direct"})
        assert rig.worker.flow("a.example", 80).verdict.upstream == "direct"
        await rig.ask("PUT", "/configs", {"mode": "rule"})  # as some clients put it
        assert rig.worker.flow("a.example", 80).verdict.chain == "Sel \u2192 s5"
        assert (rig.wishes.mode, rig.wishes.way) == ("rule", "hp")
        await rig.ask("PATCH", "/configs", {"mode": "script"}, 400)
        await rig.ask("PATCH", "/configs", {"mode": 7}, 400)
        await rig.ask("PUT", "/proxies/GLOBAL", {"name": "nope"}, 400)

    talk(tmp_path, conversation, workers=2)


def test_what_cannot_be_changed_is_named_and_nothing_is(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for wanted, name in (
            ({"allow-lan": True}, "allow-lan"),
            ({"tun": {"enable": False}}, "tun"),
            ({"x": 1}, "x"),
        ):
            found = await rig.ask("PATCH", "/configs", {"mode": "direct", **wanted}, 400)
            assert found["message"] == f"cannot be changed here: {name} (edit the configuration)"
        assert (await rig.get("/configs"))["mode"] == "rule"
        await rig.ask("PATCH", "/configs", {"allow-lan": False, "tun": {"enable": True}, "ipv6": True})
        await rig.ask("PATCH", "/configs", {"log-level": "Trace"})
        assert (await rig.get("/configs"))["log-level"] == "debug"
        await rig.ask("PATCH", "/configs", {"log-level": "loud"}, 400)

    talk(tmp_path, conversation)


def test_reload_happens_or_says_why_not(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        await rig.ask("PUT", "/configs?force=true", {})
        await rig.ask("PUT", "/configs?reload=true", {"path": "", "payload": ""})
        await rig.ask("PUT", "/configs")
        assert rig.reloader.count == 3
        rig.reloader.error = ReloadError("tunproxy.toml:2:4: unknown rule type")
        found = await rig.ask("PUT", "/configs", {}, 400)
        assert found == {"message": "tunproxy.toml:2:4: unknown rule type"}
        assert "tunproxy rules update" in (await rig.ask("POST", "/configs/geo", {}, 400))["message"]
        await rig.get("/restart", 405)

    talk(tmp_path, conversation)


@pytest.mark.parametrize(("mode", "hijack"), [("off", []), ("real-ip", ["0.0.0.0:53"])])
def test_document_says_what_is_so(mode: str, hijack: list[str]) -> None:
    config = Config(device=DeviceConfig(mtu=1400), dns=DnsConfig(mode=mode))  # type: ignore[arg-type]
    found = document_of(config, "tun7", "rule", "info")
    assert (found["tun"]["mtu"], found["tun"]["dns-hijack"]) == (1400, hijack)


def test_debugging_is_there_at_that_log_level_only(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for method, path in (("PUT", "/debug/gc"), ("GET", "/debug/pprof/heap")):
            await rig.ask(method, path, status=404)
        await rig.ask("PATCH", "/configs", {"log-level": "debug"})
        await rig.ask("PUT", "/debug/gc")
        assert "not supported" in (await rig.get("/debug/pprof/heap", 501))["message"]
        await rig.get("/debug/pprof", 501)
        await rig.ask("PATCH", "/configs", {"log-level": "info"})
        await rig.ask("PUT", "/debug/gc", status=404)

    talk(tmp_path, conversation)
