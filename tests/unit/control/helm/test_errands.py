"""Work that is fetched when it is done."""

import asyncio
from typing import Any

import pytest

from tunproxy.control.helm import errands as module
from tunproxy.control.helm.errands import Errands
from tunproxy.errors import ConfigError


async def quick(result: Any) -> dict[str, Any]:
    if isinstance(result, Exception):
        raise result
    return {"is": result}


def test_result_is_there_once() -> None:
    async def talk() -> None:
        errands = Errands()
        ticket = errands.begin(quick(7))
        assert errands.fetch(ticket) == {"is_done": False}
        await asyncio.sleep(0)
        assert errands.fetch(ticket) == {"is_done": True, "result": {"is": 7}}
        with pytest.raises(ConfigError, match="there is no errand 1"):
            errands.fetch(ticket)

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("error", "text"), [(ConfigError("no way"), "no way"), (KeyError("x"), "KeyError: 'x'")]
)
def test_failure_is_told_to_who_fetches(error: Exception, text: str) -> None:
    async def talk() -> None:
        errands = Errands()
        ticket = errands.begin(quick(error))
        await asyncio.sleep(0)
        with pytest.raises(ConfigError, match=text):
            errands.fetch(ticket)

    asyncio.run(talk())


@pytest.mark.parametrize("ticket", [None, "1", 1, True])
def test_ticket_that_is_none(ticket: Any) -> None:
    with pytest.raises(ConfigError, match="there is no errand"):
        Errands().fetch({"ticket": ticket})


def test_there_is_room_for_some_and_what_nobody_fetches_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    now = 0.0

    async def talk() -> None:
        nonlocal now
        errands = Errands(lambda: now)
        first = errands.begin(asyncio.sleep(60))
        errands.begin(quick(1))
        with pytest.raises(ConfigError, match="under way"):
            errands.begin(quick(2))
        now = module.KEPT + 1
        third = errands.begin(quick(3))
        with pytest.raises(ConfigError):
            errands.fetch(first)
        errands.close()
        with pytest.raises(ConfigError):
            errands.fetch(third)
        await asyncio.sleep(0)

    asyncio.run(talk())
