"""Counts in shared memory: summed, kept when a worker dies, and written by children."""

import os

from tunproxy.relay.metrics import (
    ACCEPTED,
    FLOWS,
    FLOWS_OPEN,
    OPEN,
    OUTCOMES,
    PROTOCOLS,
    STARTS,
    UP,
    Board,
    Tally,
)


def test_counts_are_summed_over_the_workers() -> None:
    board = Board(3, ["joe", "jane"])
    tallies = [Tally(board, number) for number in range(3)]
    for number, tally in enumerate(tallies):
        tally.add(ACCEPTED, number)
        tally.on_request("socks5")
        tally.on_outcome("denied")
        tally.on_begin(1)
        tally.on_up(1, 10)
    assert board.total(ACCEPTED) == 3
    assert board.protocol(PROTOCOLS.index("socks5")) == 3
    assert board.protocol(PROTOCOLS.index("http")) == 0
    assert board.outcome(OUTCOMES.index("denied")) == 3
    assert (board.of_user(1, FLOWS), board.of_user(1, FLOWS_OPEN), board.of_user(1, UP)) == (3, 3, 30)
    assert board.of_user(0, FLOWS) == 0
    assert tallies[0].flows_of(1) == 3


def test_successor_goes_on_counting_but_has_nothing_open() -> None:
    board = Board(2, ["joe"])
    for number in range(2):
        tally = Tally(board, number)
        tally.add(ACCEPTED)
        tally.add(OPEN)
        tally.on_begin(0)
    Tally(board, 1)
    assert board.total(ACCEPTED) == 2
    assert board.total(OPEN) == 1
    assert (board.of_user(0, FLOWS), board.of_user(0, FLOWS_OPEN)) == (2, 1)
    assert board.total(STARTS) == 3


def test_workers_are_counted_before_they_begin() -> None:
    """Else somebody who asks meanwhile would see more and more of them, as where they die."""
    board = Board(2, [])
    assert board.total(STARTS) == 2
    for number in (1, 0):
        Tally(board, number)
        assert board.total(STARTS) == 2
    assert 0 not in board.pids()


def test_what_a_child_counts_is_seen() -> None:
    board = Board(1, [])
    pid = os.fork()
    if pid == 0:
        Tally(board, 0).add(ACCEPTED, 7)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert board.total(ACCEPTED) == 7


def test_names_are_told_apart() -> None:
    assert len(set(PROTOCOLS)) == len(PROTOCOLS)
    assert len(set(OUTCOMES)) == len(OUTCOMES)
