"""Other resolvers of the host: who is told, and when not."""

import asyncio
import logging

import pytest

from tests.unit.control.name_workers import name_worker
from tunproxy.control import host_resolvers
from tunproxy.control.host_resolvers import HostResolvers
from tunproxy.errors import ConfigError

BEFORE, AFTER = ("192.0.2.53",), ("192.0.2.60", "tls://dns.example@192.0.2.61")


def followed(
    monkeypatch: pytest.MonkeyPatch, *found: tuple[str, ...], error: str = ""
) -> tuple[tuple[str, ...], list[list[str]], list[tuple[str, ...]]]:
    """Return what is known after looking at found in turn, what a worker was told, and renewals."""
    renewed: list[tuple[str, ...]] = []

    async def renew(resolvers: tuple[str, ...]) -> None:
        renewed.append(resolvers)
        if error:
            raise ConfigError(error)

    async def check() -> tuple[tuple[str, ...], list[list[str]]]:
        with name_worker() as worker:
            resolvers = HostResolvers([worker.questions], BEFORE, renew)
            for each in found:

                async def find(bus: object, *, tun: int, each: tuple[str, ...] = each) -> tuple[str, ...]:
                    assert (bus, tun) == (None, 7)
                    return each

                monkeypatch.setattr(host_resolvers, "find_resolvers", find)
                await resolvers.follow(None, 7)
            return resolvers.known, worker.resolvers

    known, told = asyncio.run(check())
    return known, told, renewed


def test_others_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed(monkeypatch, BEFORE, AFTER, AFTER) == (AFTER, [list(AFTER)], [AFTER])


def test_no_network_is_no_reason_to_forget_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed(monkeypatch, (), BEFORE) == (BEFORE, [], [])


def test_where_no_policy_can_be_built_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        known, told, renewed = followed(monkeypatch, AFTER, AFTER, error="tunproxy.toml:1:1: what?")
    assert (known, told, renewed) == (BEFORE, [list(AFTER)] * 2, [AFTER] * 2)
    assert caplog.messages == ["the resolvers of before are asked: tunproxy.toml:1:1: what?"] * 2
