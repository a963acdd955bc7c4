"""What a worker tells the managers of its memory."""

import gc
from collections.abc import Iterator

import pytest

from tunproxy.control.memory import GC_THRESHOLD, settle_memory
from tunproxy.host import libc


@pytest.fixture(autouse=True)
def garbage_collection() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_there_is_at_the_start_is_not_looked_at_again() -> None:
    kept = [[number] for number in range(1000)]
    settle_memory()
    assert gc.get_freeze_count() >= len(kept)
    assert gc.get_threshold()[0] == GC_THRESHOLD


def test_freed_memory_stays_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(libc, "keep_freed_memory", asked.append)
    settle_memory()
    assert asked == [16 << 20]
