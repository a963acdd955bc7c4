"""The scoreboard behaves as a set of octets would; loss is judged as RFC 6675 §4 words it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tunproxy.tcp.scoreboard import DUP_THRESH, MAX_RANGES, Scoreboard
from tunproxy.tcp.seq import seq_add, seq_sub

SPACE = 300
MSS = 20
BASES = st.sampled_from([0, 5000, 2**31 - 150, 2**32 - 150])
BLOCKS = st.lists(st.tuples(st.integers(1, SPACE - 1), st.integers(1, 60)), max_size=25)


def filled(base: int, blocks: list[tuple[int, int]]) -> tuple[Scoreboard, set[int]]:
    board, model = Scoreboard(), set[int]()
    for left, size in blocks:
        octets = set(range(left, left + size))
        assert board.add(seq_add(base, left), seq_add(base, left + size)) == bool(octets - model)
        model |= octets
    return board, model


def runs(model: set[int]) -> list[tuple[int, int]]:
    found: list[list[int]] = []
    for at in sorted(model):
        if found and found[-1][1] == at:
            found[-1][1] = at + 1
        else:
            found.append([at, at + 1])
    return [(left, right) for left, right in found]


def is_lost(at: int, model: set[int]) -> bool:
    """RFC 6675 §4, IsLost, word by word."""
    above = {octet for octet in model if octet > at}
    return len(runs(above)) >= DUP_THRESH or len(above) > (DUP_THRESH - 1) * MSS


@settings(deadline=None, derandomize=True, max_examples=400)
@given(BASES, BLOCKS)
def test_board_agrees_with_a_set_of_octets(base: int, blocks: list[tuple[int, int]]) -> None:
    board, model = filled(base, blocks)
    assert board.sacked == len(model)
    assert board.is_empty == (not model)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(BASES, BLOCKS, st.integers(0, SPACE + 60))
def test_advance_forgets_what_lies_below(base: int, blocks: list[tuple[int, int]], upto: int) -> None:
    board, model = filled(base, blocks)
    board.advance(seq_add(base, upto))
    left = {octet for octet in model if octet >= upto}
    assert board.sacked == len(left)
    octet = base
    end = seq_add(base, SPACE + 100)
    held = SPACE + 100
    while octet != end:  # what is no hole is held
        begin, octet = board.next_hole(octet, end)
        held -= seq_sub(octet, begin)
    assert held == len(left)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(BASES, BLOCKS, st.integers(0, SPACE), st.integers(0, SPACE + 60))
def test_next_hole_walks_over_what_is_missing(
    base: int, blocks: list[tuple[int, int]], start: int, until: int
) -> None:
    board, model = filled(base, blocks)
    missing = set(range(start, until)) - model
    at, walked = start, set[int]()
    while True:
        left, right = (
            seq_sub(edge, base) for edge in board.next_hole(seq_add(base, at), seq_add(base, until))
        )
        if left == right:
            assert left == until
            break
        assert at <= left < right <= until
        assert not walked & set(range(left, right))
        walked |= set(range(left, right))
        at = right
    assert walked == missing


@settings(deadline=None, derandomize=True, max_examples=400)
@given(BASES, BLOCKS)
def test_lost_until_agrees_with_the_words_of_rfc_6675(base: int, blocks: list[tuple[int, int]]) -> None:
    board, model = filled(base, blocks)
    until = seq_sub(board.lost_until(base, MSS), base)
    for at in set(range(SPACE + 60)) - model:
        assert is_lost(at, model) == (at < until), at


def test_lost_until_three_ranges_prove_the_gap_below_them() -> None:
    board = Scoreboard()
    for left in (200, 400, 600):
        board.add(left, left + 1)
    assert board.lost_until(100, 1460) == 200


def test_lost_until_two_segments_prove_nothing_and_one_octet_more_does() -> None:
    board = Scoreboard()
    board.add(2000, 2000 + 2 * 1460)
    assert board.lost_until(1000, 1460) == 1000
    board.add(2000 + 2 * 1460, 2001 + 2 * 1460)
    assert board.lost_until(1000, 1460) == 2000


def test_add_beyond_the_bound_is_refused_and_merging_is_not() -> None:
    board = Scoreboard()
    for number in range(MAX_RANGES):
        assert board.add(10 * number, 10 * number + 5)
    assert not board.add(10 * MAX_RANGES, 10 * MAX_RANGES + 5)
    assert board.sacked == 5 * MAX_RANGES
    assert board.add(5, 10)
    assert board.add(10 * MAX_RANGES, 10 * MAX_RANGES + 5)


def test_clear_forgets_everything() -> None:
    board = Scoreboard()
    board.add(10, 20)
    board.clear()
    assert board.is_empty
    assert board.sacked == 0
