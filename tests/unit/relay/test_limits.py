"""What one user may have, in this worker and in all of them."""

import pytest

from tunproxy.relay.limits import BURST, Account
from tunproxy.relay.metrics import UP, Board, Tally


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def account(board: Board, worker: int, clock: Clock, connections: int = 0, rate: int = 0) -> Account:
    return Account(0, "joe", connections, rate, Tally(board, worker), clock)


def test_connections_are_counted_over_all_workers() -> None:
    board, clock = Board(2, ["joe"]), Clock()
    one, other = (account(board, worker, clock, connections=3) for worker in (0, 1))
    assert [one.begin(), other.begin(), one.begin()] == [True, True, True]
    assert not one.begin()
    assert not other.begin()
    one.end()
    assert other.begin()


def test_no_limit_is_none() -> None:
    board, clock = Board(1, ["joe"]), Clock()
    free = account(board, 0, clock)
    assert all(free.begin() for _ in range(100))
    assert free.on_up(1 << 40) == 0
    assert board.of_user(0, UP) == 1 << 40


def test_rate_is_kept_in_the_long_run() -> None:
    clock = Clock()
    limited = account(Board(1, ["joe"]), 0, clock, rate=1000)
    limited.begin()
    passed = 0
    while clock.now < 200:
        clock.now += limited.on_up(500) + limited.on_down(500)
        passed += 1000
    assert passed == pytest.approx(100 * 1000 * (1 + BURST / 100), rel=0.03)


def test_pause_is_not_saved_up() -> None:
    clock = Clock()
    limited = account(Board(1, ["joe"]), 0, clock, rate=1000)
    limited.begin()
    clock.now += 1000
    assert limited.on_up(int(1000 * BURST)) == 0
    assert limited.on_up(1000) == pytest.approx(1.0)


def test_rate_is_divided_as_the_connections_are() -> None:
    board, clock = Board(2, ["joe"]), Clock()
    one, other = (account(board, worker, clock, rate=1000) for worker in (0, 1))
    one.begin()
    for _ in range(3):
        other.begin()
    assert one.on_up(1000) == pytest.approx(4.0 - BURST)
    assert other.on_up(750) == pytest.approx(1.0 - BURST)


def test_datagrams_are_dropped_at_the_rate_and_streams_have_the_rest() -> None:
    clock = Clock()
    limited = account(Board(1, ["joe"]), 0, clock, rate=10_000)
    limited.begin()
    sent = 0
    for _ in range(20_000):  # ten times as much as may pass
        clock.now += 0.001
        if limited.admits(100):
            sent += 100
            limited.on_up(100)
    assert sent == pytest.approx(20 * 10_000 + 10_000 * BURST, rel=0.02)
    assert limited.on_down(1000) >= 0.1  # a stream waits until it is its turn


def test_datagrams_pass_while_streams_take_all_they_may() -> None:
    clock = Clock()
    limited = account(Board(1, ["joe"]), 0, clock, rate=10_000)
    limited.begin()
    while clock.now < 110:
        clock.now += limited.on_down(5000)
        assert limited.admits(100)
        limited.on_up(100)


def test_datagrams_without_a_limit_pass() -> None:
    free = account(Board(1, ["joe"]), 0, Clock())
    assert all(free.admits(1 << 16) for _ in range(1000))
