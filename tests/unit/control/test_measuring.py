"""What several workers measure becomes one document."""

import asyncio
from typing import Any

from tests.unit.control.measured import MEASURES, WORKER
from tunproxy.control.clash.asking import RefusedError
from tunproxy.control.measuring import measure, summed
from tunproxy.control.questions import NoAnswerError


def test_counts_are_added_up() -> None:
    assert MEASURES["targets"] == {"work": 9, "DIRECT": 1}
    assert MEASURES["rules"] == [[-1, "", "DIRECT", 1], [2, "DOMAIN,x,work", "work", 9]]
    assert MEASURES["dns"] == {
        "counts": {"queries": 8, "hits": 3},
        "gauges": {"cached": 3, "names": 5},
        "resolvers": {"9.9.9.9": {"asked": 5, "failed": 1}},
    }


def test_upstream_is_up_where_all_workers_say_so() -> None:
    assert MEASURES["upstreams"] == {
        "work": {"up": 0, "failures": 3, "seconds": 0.375},
        "home": {"up": 1, "failures": 0, "seconds": None},
    }


def test_workers_may_use_different_members() -> None:
    assert MEASURES["groups"] == {"auto": {"work": 1, "home": 1}, "nobody": {}}


def test_nobody_answers() -> None:
    class Nobody:
        def __init__(self, error: Exception) -> None:
            self._error = error

        async def each(self, what: str) -> list[dict[str, Any]]:
            assert what == "helm-measures"
            raise self._error

    for error in (NoAnswerError("gone"), RefusedError("no")):
        asking: Any = Nobody(error)
        assert asyncio.run(measure(asking)) == summed([])


def test_somebody_answers() -> None:
    class Some:
        async def each(self, what: str) -> list[dict[str, Any]]:
            return [WORKER]

    asking: Any = Some()
    assert asyncio.run(measure(asking))["targets"] == {"work": 4, "DIRECT": 1}
