"""The stream, read in a thread: who is asked, and what happens when nobody answers."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunproxy.cli.top import feed
from tunproxy.cli.top.feed import Feed
from tunproxy.control.client import NotRunningError
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.errors import TunproxyError

Said = queue.Queue[tuple[str, Any]]


def begin(
    monkeypatch: pytest.MonkeyPatch,
    choose: Callable[[str, str], Found],
    watch: Callable[[Path, float], Iterator[dict[str, Any]]],
) -> tuple[Feed, Said]:
    """Return a feed that reads, and what it calls, as it happens."""
    monkeypatch.setattr(feed, "choose", choose)
    monkeypatch.setattr(feed, "watch_flows", watch)
    said: Said = queue.Queue()
    made = Feed(
        "tun0",
        "",
        2.0,
        on_found=lambda found: said.put(("found", found.name)),
        on_told=lambda told: said.put(("told", told["n"])),
        on_lost=lambda why: said.put(("lost", why)),
        retry=0.001,
    )
    made.start()
    return made, said


def test_stream_is_taken_up_again_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    runs = iter([[1, 2], [3]])
    rest = threading.Event()

    def choose(tun: str, socket: str) -> Found:
        asked.append((tun, socket))
        if len(asked) == 2:
            raise NotRunningError("no tunproxy called 'tun0' is running")
        if len(asked) == 3:
            raise TunproxyError("cannot ask: permission denied")
        return Found(Path("/run/tun0.sock"), ALIVE, 7)

    def watch(path: Path, seconds: float) -> Iterator[dict[str, Any]]:
        assert (path, seconds) == (Path("/run/tun0.sock"), 2.0)
        for number in next(runs):
            yield {"n": number}
        if len(asked) > 3:
            rest.wait(20)
        raise NotRunningError("tunproxy has ended")

    made, said = begin(monkeypatch, choose, watch)
    assert [said.get(timeout=20) for _ in range(8)] == [
        ("found", "tun0"),
        ("told", 1),
        ("told", 2),
        ("lost", "tunproxy has stopped"),
        ("lost", "tunproxy has stopped"),
        ("lost", "cannot ask: permission denied"),
        ("found", "tun0"),
        ("told", 3),
    ]
    assert set(asked) == {("tun0", "")}
    made.close()
    rest.set()
    with pytest.raises(queue.Empty):
        said.get(timeout=0.05)


def test_nobody_is_called_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def watch(path: Path, seconds: float) -> Iterator[dict[str, Any]]:
        try:
            yield {"n": 1}
            go_on.wait(20)
            yield {"n": 2}
            raise AssertionError("nobody reads on")
        finally:
            ended.set()

    made, said = begin(monkeypatch, lambda *_: Found(Path("/x.sock"), ALIVE, 7), watch)
    assert [said.get(timeout=20) for _ in range(2)] == [("found", "x"), ("told", 1)]
    made.close()
    go_on.set()
    assert ended.wait(20)
    assert said.empty()
