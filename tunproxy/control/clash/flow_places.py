"""What workers tell of their flows when they are asked again and again: each time only what is new.

A worker's answer says how far it has told, and with ``after`` that there is more at once; numbers of octets
come with the last part. Another worker may take a dead one's place: it was then asked for too little.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar  # Any: documents

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.flow_shapes import id_of

ALL: Final = -1  # since when to tell: flows that there are already as well
FROM_NOW_ON: Final = (1 << 62) - 1

_INSIDE: Final = ("condition", "is_chosen", "is_fake", "sniffed")  # what rows have for dashboards

Octets = dict[int, tuple[int, int]]


class Place:
    """How far the worker at one place has told. Who keeps more than that starts over with it as well."""

    def __init__(self, since: int = ALL) -> None:
        self._first: Final = since
        self.start_over()

    def start_over(self) -> None:
        """Have nothing been told."""
        self.run = ""  # the mark of the worker
        self.since = self._first
        self.after = -1  # flows beyond this number have not been told

    @property
    def has_more(self) -> bool:
        """Whether the worker has more to tell at once."""
        return self.after >= 0

    def note(self, told: Mapping[str, Any]) -> bool:
        """Note how far told goes; start over, and return False, where it is another worker that tells."""
        if self.run and told["run"] != self.run:
            self.start_over()
            return False
        self.run, self.since, self.after = str(told["run"]), int(told["now"]), int(told["after"])
        return True


AnyPlace = TypeVar("AnyPlace", bound=Place)


async def ask(asking: Asking, places: Sequence[AnyPlace]) -> list[tuple[AnyPlace, dict[str, Any]]]:
    """Return what each worker that answers tells; its place has to note that. Raises NoAnswerError."""
    asked = [("helm-flows", {"since": each.since, "after": each.after}) for each in places]
    answers = await asking.every(asked)
    return [(place, told) for place, told in zip(places, answers, strict=False) if told is not None]


def octets_of(told: Mapping[str, Any]) -> Octets:
    """Return the octets up and down of all flows that a worker has, by number."""
    flat = array("q", bytes.fromhex(told["tallies"]))
    return dict(zip(flat[::3], zip(flat[1::3], flat[2::3], strict=True), strict=True))


def row_for_people(run: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a worker's ``FlowFeed`` with the id by which its flow can be ended; run is its mark."""
    told = {key: value for key, value in row.items() if key not in _INSIDE}
    told["id"] = id_of(run, int(row["number"]))
    return told
