"""What is tested, why, and when next: the wishes of groups, and the checker's notes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.upstream.base import Upstream
from tunproxy.upstream.history import Record
from tunproxy.upstream.probe import TEST_TIMEOUT, TEST_URL, Url


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the members of a group are tested; raises OptionError for a URL that is none.

    interval and timeout are in seconds; status is what the answer must have, 0 for any.
    """

    url: str = TEST_URL
    interval: float = 300.0
    timeout: float = TEST_TIMEOUT
    status: int = 0
    is_lazy: bool = True

    def __post_init__(self) -> None:
        Url(self.url)


class Watch:
    """One group's wish that upstreams be tested; used_at is when a flow last went through it."""

    def __init__(self, upstreams: Sequence[Upstream], plan: Plan) -> None:
        self.upstreams: Final = tuple(upstreams)
        self.plan: Final = plan
        self.used_at = float("-inf")
        self.is_asleep = plan.is_lazy


class Entry:
    """A record, who wishes it, and when it is tested next."""

    def __init__(self, record: Record) -> None:
        self.record: Final = record
        self.watches: Final[list[Watch]] = []
        self.due_at = float("inf")
        self.tested_at = float("-inf")
        self.is_running = False

    @property
    def name(self) -> str:
        return self.record.upstream.name


class Exploration:
    """An upstream that is looked at for what it carries, and when."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream: Final = upstream
        self.due_at = float("inf")

    @property
    def name(self) -> str:
        return self.upstream.name


def kept(entry: Entry | None, upstream: Upstream, url: str) -> Record:
    """Return the record of what is the same upstream as far as one can see, else a new one."""
    if entry is None or _whereabouts(entry.record.upstream) != _whereabouts(upstream):
        return Record(upstream, url)
    entry.record.upstream = upstream
    return entry.record


def _whereabouts(upstream: Upstream) -> tuple[str, object, object]:
    return type(upstream).__qualname__, getattr(upstream, "host", None), getattr(upstream, "port", None)
