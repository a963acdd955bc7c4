"""Tests of ways that somebody asks for."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.control.helm.world import keeping
from tunproxy.control.helm import probing
from tunproxy.control.helm.errands import Errands
from tunproxy.control.helm.probing import Prober
from tunproxy.control.helm.ways import Ways
from tunproxy.errors import ConfigError
from tunproxy.upstream.base import Dialer, Upstream
from tunproxy.upstream.health import Health


def converse(folder: Path, fetch: Any, about: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a test."""

    async def talk() -> dict[str, Any]:
        health = Health(fetch=fetch)
        with keeping(folder, health) as keeper:
            health.start(asyncio.get_running_loop(), cast(Dialer, None) or _Nobody())
            errands = Errands()
            prober = Prober(Ways(keeper, health, {}), health, errands)
            ticket = prober.begin(about)
            while True:
                found = errands.fetch(ticket)
                if found["is_done"]:
                    health.stop()
                    result: dict[str, Any] = found["result"]
                    return result
                await asyncio.sleep(0.005)

    return asyncio.run(talk())


class _Nobody(Dialer):
    async def connect(self, host: str, port: int) -> Any:
        raise OSError

    async def connect_datagrams(self, host: str, port: int) -> Any:
        raise OSError


def test_delays_are_of_what_names_lead_to(tmp_path: Path) -> None:
    async def fetch(upstream: Upstream, url: str, dialer: Dialer, status: int) -> float:
        assert url == "http://t/"
        return {"s5": 0.01, "direct": 0.002}[upstream.name]

    names = ["work", "DIRECT", "fast", "REJECT", "drop"]
    found = converse(tmp_path, fetch, {"names": names, "url": "http://t/", "timeout": 10})
    assert found["delays"] == {"work": 10, "DIRECT": 2, "fast": 10}
    assert found["problems"] == {"REJECT": "'reject' leads nowhere", "drop": "'drop' leads nowhere"}


def test_no_more_than_a_few_run_at_once_and_none_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "AT_ONCE", 2)
    running = most = 0

    async def fetch(upstream: Upstream, url: str, dialer: Dialer, status: int) -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(60)
        finally:
            running -= 1
        return 0.0

    about = {"names": ["s5", "direct", "work", "fast", "many"], "url": "http://t/", "timeout": 0.02}
    found = converse(tmp_path, fetch, about)
    assert (found["delays"], most) == ({}, 2)
    assert found["problems"]["s5"] == "test of s5 failed: no answer within 0.02 s"


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"names": "s5", "url": "http://t/", "timeout": 1},
        {"names": ["s5"], "url": 1, "timeout": 1},
        {"names": ["s5"], "url": "http://t/", "timeout": "1"},
        {"names": ["nobody"], "url": "http://t/", "timeout": 1},
    ],
)
def test_what_is_no_test_is_told(tmp_path: Path, about: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        converse(tmp_path, None, about)
