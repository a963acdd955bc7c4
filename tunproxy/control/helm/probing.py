"""Tests of ways that somebody asks for, beside those that groups wish."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.helm.errands import Errands
from tunproxy.control.helm.ways import Ways
from tunproxy.control.letters import About
from tunproxy.errors import ConfigError, TunproxyError
from tunproxy.flow.verdict import DROP, REJECT
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.group import Group
from tunproxy.upstream.health import Health

# our choices
AT_ONCE: Final = 16  # tests that run, of all that were asked for
LONGEST: Final = 30.0  # seconds that one may take
DEPTH: Final = 16  # groups within groups


class Prober:
    """Tests ways over health, and tells delays in ms, by the names that were asked about."""

    def __init__(self, ways: Ways, health: Health, errands: Errands) -> None:
        self._ways: Final = ways
        self._health: Final = health
        self._errands: Final = errands
        self._room: Final = asyncio.Semaphore(AT_ONCE)

    def begin(self, about: About) -> dict[str, Any]:
        """Test about's names with its url, timeout seconds at most; return a ticket. Raises ConfigError.

        statuses are those that an answer may have; without them, those that groups want. The result has
        delays, and problems: why the rest failed.
        """
        names, url, timeout = about.get("names"), about.get("url"), about.get("timeout")
        statuses = about.get("statuses")
        if not isinstance(names, list) or not isinstance(url, str) or not isinstance(timeout, int | float):
            raise ConfigError("this is no test")
        expected = frozenset(map(int, statuses)) if isinstance(statuses, list) else None
        found = [(str(name), self._ways.find(name)) for name in names]
        seconds = min(max(float(timeout), 0.001), LONGEST)
        return self._errands.begin(self._test_all(found, url, seconds, expected))

    async def _test_all(
        self,
        ways: Sequence[tuple[str, Upstream]],
        url: str,
        timeout: float,
        expected: frozenset[int] | None,
    ) -> dict[str, Any]:
        delays: dict[str, int] = {}
        problems: dict[str, str] = {}

        async def test(name: str, way: Upstream) -> None:
            try:
                async with self._room:
                    delays[name] = await self._health.test(_leaf(way), url, timeout, expected)
            except TunproxyError as error:
                problems[name] = str(error)

        await asyncio.gather(*(test(name, way) for name, way in ways))
        return {"delays": delays, "problems": problems}


def _leaf(way: Upstream) -> Upstream:
    """Return what flows go through now that go this way; raises ConfigError where nothing can be tested."""
    for _ in range(DEPTH):
        if not isinstance(way, Group):
            break
        way = way.current() or way.members[0]
    always = way.constant()
    if isinstance(way, Group) or (always is not None and always.kind in (REJECT, DROP)):
        raise ConfigError(f"{way.name!r} leads nowhere")
    return way
