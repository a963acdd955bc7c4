"""What the packet path asks of its surroundings can be implemented by interpreted code."""

import select
import socket

import pytest

from tunproxy.flow import ports
from tunproxy.flow.ports import Descriptor, FlowWatcher, OpenRequest, Poller, SocketMaker, Timed


class Bell(Timed):
    def __init__(self) -> None:
        super().__init__()
        self.rung: list[tuple[str, int]] = []

    def on_ready(self, events: int, now: int) -> None:
        self.rung.append(("ready", events))

    def on_deadline(self, now: int) -> None:
        self.rung.append(("deadline", now))


def test_timed_is_a_descriptor_that_is_not_scheduled() -> None:
    bell = Bell()
    assert isinstance(bell, Descriptor)
    assert bell.scheduled_at == -1
    bell.on_ready(ports.READABLE, 5)
    bell.on_deadline(7)
    assert bell.rung == [("ready", ports.READABLE), ("deadline", 7)]


def test_masks_are_those_of_epoll() -> None:
    assert ports.READABLE == select.EPOLLIN
    assert ports.WRITABLE == select.EPOLLOUT
    assert ports.ERROR == select.EPOLLERR
    assert ports.HANGUP == select.EPOLLHUP
    assert ports.PEER_HANGUP == select.EPOLLRDHUP
    assert ports.EDGE == select.EPOLLET


@pytest.mark.parametrize(
    ("owner", "call"),
    [
        (Descriptor(), lambda it: it.on_ready(0, 0)),
        (Timed(), lambda it: it.on_deadline(0)),
        (Poller(), lambda it: it.watch(0, Descriptor(), 0)),
        (Poller(), lambda it: it.forget(0)),
        (Poller(), lambda it: it.discard(socket.socket())),
        (Poller(), lambda it: it.schedule(Timed(), 0)),
        (Poller(), lambda it: it.later(Timed())),
        (SocketMaker(), lambda it: it.tcp(socket.AF_INET)),
        (SocketMaker(), lambda it: it.udp(socket.AF_INET)),
        (SocketMaker(), lambda it: it.ping(socket.AF_INET)),
        (OpenRequest(), lambda it: it.failed(1)),
    ],
)
def test_contract_without_an_implementation_says_so(owner: object, call: object) -> None:
    with pytest.raises(NotImplementedError):
        call(owner)  # type: ignore[operator]


def test_flows_of_several_workers_have_numbers_that_tell_whose_they_are() -> None:
    watchers = []
    for number in range(3):
        for restarts in range(2):
            watcher = FlowWatcher()
            watcher.count_as(number, 3, restarts)
            watchers.append((number, watcher))
    found = [(number, watcher.number()) for number, watcher in watchers for _ in range(5)]
    assert len({number for _, number in found}) == 30
    assert all((number - 1) % 3 == worker for worker, number in found)
    assert all(watcher.count() == 5 for _, watcher in watchers)


def test_flows_of_one_worker_are_numbered_from_one() -> None:
    watcher = FlowWatcher()
    watcher.count_as(0, 1, 0)
    assert [watcher.number(), watcher.number(), watcher.count()] == [1, 2, 2]
