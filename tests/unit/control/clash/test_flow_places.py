"""How far workers have told of their flows, and who takes a place anew."""

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.flow_places import FROM_NOW_ON, Place, ask, octets_of, row_for_people
from tunproxy.control.clash.flow_shapes import id_of


def told(run: str, now: int = 5, after: int = -1) -> dict[str, Any]:
    return {"run": run, "now": now, "after": after}


class Workers(Asking):
    """Answer what a test says, None for one that is silent, and remember what they were asked."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        super().__init__([])
        self.answers = list(answers)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def every(self, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any] | None]:
        self.asked += asked
        return self.answers


def test_worker_is_asked_for_what_came_since() -> None:
    places = [Place(), Place(FROM_NOW_ON)]
    workers = Workers(told("a", 5), None)
    ((place, said),) = asyncio.run(ask(workers, places))
    assert place is places[0]
    assert place.note(said)
    asyncio.run(ask(workers, places))
    assert [about["since"] for _, about in workers.asked] == [-1, FROM_NOW_ON, 5, FROM_NOW_ON]


@pytest.mark.parametrize("after", [-1, 0, 700])
def test_parts_are_asked_for_from_where_the_last_one_ended(after: int) -> None:
    place = Place()
    place.note(told("a", after=after))
    assert place.has_more == (after >= 0)
    workers = Workers(None)
    asyncio.run(ask(workers, [place]))
    assert workers.asked == [("helm-flows", {"since": 5, "after": after})]


@pytest.mark.parametrize("since", [-1, FROM_NOW_ON])
def test_another_worker_in_a_place_is_asked_as_the_first_was(since: int) -> None:
    place = Place(since)
    assert place.note(told("a", 5, 7))
    assert not place.note(told("b", 6))
    assert (place.run, place.since, place.after) == ("", since, -1)
    assert place.note(told("b", 8))
    assert (place.run, place.since) == ("b", 8)


def test_octets_come_by_the_numbers_of_flows() -> None:
    tallies = array("q", (1, 10, 20, 7, 0, 1 << 40)).tobytes().hex()
    assert octets_of({"tallies": tallies}) == {1: (10, 20), 7: (0, 1 << 40)}
    assert octets_of({"tallies": ""}) == {}


def test_row_for_people_has_an_id_and_nothing_that_only_dashboards_want() -> None:
    row = row_for_people("5c", {"number": 7, "name": "a.example", "condition": None, "is_chosen": False})
    assert row == {"number": 7, "name": "a.example", "id": id_of("5c", 7)}
