"""What arrives ahead of a gap is kept as a table of octets would keep it; the first copy wins."""

import random
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from tunproxy.tcp.assembler import JOIN_UP_TO, MAX_PIECES, PIECE_COST, Assembler
from tunproxy.tcp.seq import seq_add, seq_lt, seq_sub

SPACE = 200
BASES = st.sampled_from([0, 1000, 2**31 - 100, 2**32 - 100])
ARRIVALS = st.lists(st.tuples(st.integers(0, SPACE - 1), st.integers(1, 40)), min_size=1, max_size=30)


def runs(model: dict[int, int], base: int) -> list[tuple[int, int]]:
    """Return the runs of octets in model as (left, right) sequence numbers."""
    found: list[list[int]] = []
    for at in sorted(model):
        if found and found[-1][1] == at:
            found[-1][1] = at + 1
        else:
            found.append([at, at + 1])
    return [(seq_add(base, left), seq_add(base, right)) for left, right in found]


@settings(deadline=None, derandomize=True, max_examples=300)
@given(BASES, ARRIVALS, st.lists(st.integers(0, SPACE + 40), max_size=3))
def test_assembler_agrees_with_a_table_of_octets(
    base: int, arrivals: list[tuple[int, int]], takes: list[int]
) -> None:
    source = random.Random(2)
    assembler, model = Assembler(), {}
    for at, size in arrivals:
        data = source.randbytes(size)
        new = [offset for offset in range(size) if at + offset not in model]
        for offset in new:
            model[at + offset] = data[offset]
        assert assembler.insert(seq_add(base, at), data) == bool(new)
        assert assembler.held == len(model)
        blocks = assembler.blocks(100)
        assert sorted(blocks, key=lambda block: seq_sub(block[0], base)) == runs(model, base)
        left, right = (seq_sub(edge, base) for edge in blocks[0])
        assert left <= at < right, "the block of the segment that came last leads (RFC 2018 §4)"
    for rcv_nxt in sorted(takes):
        taken = b""
        while (piece := assembler.take(seq_add(base, rcv_nxt + len(taken)))) is not None:
            taken += piece
        for at in [at for at in model if at < rcv_nxt]:
            del model[at]  # what lies below is gone with the taking
        expected = bytearray()
        while rcv_nxt + len(expected) in model:
            expected.append(model.pop(rcv_nxt + len(expected)))
        assert taken == expected
        assert assembler.held == len(model)


def test_first_copy_of_an_octet_wins() -> None:
    """RFC 9293 §3.10.7.4: what we have is trimmed off the newcomer."""
    assembler = Assembler()
    assembler.insert(10, b"aaaa")
    assembler.insert(8, b"bbbbbbbb")
    taken = b""
    while (piece := assembler.take(8 + len(taken))) is not None:
        taken += piece
    assert taken == b"bbaaaabb"


def test_blocks_repeat_what_was_reported_last() -> None:
    """RFC 2018 §4: behind the newest block follow those reported most recently."""
    assembler = Assembler()
    for seq in (100, 300, 500, 700, 200 + 400):
        assembler.insert(seq, bytes(10))
    assert assembler.blocks(3) == [(600, 610), (700, 710), (500, 510)]


def test_blocks_name_each_run_once() -> None:
    assembler = Assembler()
    for seq in (100, 120, 110, 300):
        assembler.insert(seq, bytes(10))
    assert assembler.blocks(4) == [(300, 310), (100, 130)]


def test_duplicate_leads_the_blocks() -> None:
    """RFC 2018 §4: the first block contains the segment that triggered the acknowledgment."""
    assembler = Assembler()
    assembler.insert(100, bytes(10))
    assembler.insert(200, bytes(10))
    assert not assembler.insert(100, bytes(10))
    assert assembler.blocks(1) == [(100, 110)]


def test_take_with_a_gap_is_none() -> None:
    assembler = Assembler()
    assembler.insert(100, b"x")
    assert assembler.take(99) is None
    assert assembler.held == 1


def test_take_drops_what_is_old() -> None:
    assembler = Assembler()
    assembler.insert(100, b"old")
    assembler.insert(200, b"ahead")
    assert assembler.take(150) is None
    assert assembler.held == 5
    assert assembler.blocks(3) == [(200, 205)]


def test_pieces_are_bounded_and_what_is_refused_may_come_again() -> None:
    assembler = Assembler()
    for number in range(MAX_PIECES):
        assert assembler.insert(2 * number, b"x")
    assert not assembler.insert(2 * MAX_PIECES, b"x")
    assert assembler.held == MAX_PIECES
    assert assembler.take(0) == b"x"
    assert assembler.insert(2 * MAX_PIECES, b"x")


def test_insert_across_the_wrap_keeps_order() -> None:
    assembler = Assembler()
    assembler.insert(2, b"cd")
    assembler.insert(0xFFFF_FFFE, b"YZab")
    assert assembler.take(0xFFFF_FFFE) == b"YZab"
    assert assembler.take(2) == b"cd"
    assert seq_lt(0xFFFF_FFFE, 2)


def test_small_pieces_in_a_row_become_one_and_come_out_unaltered() -> None:
    assembler = Assembler()
    data = bytes(range(250)) * 200
    for at in range(0, len(data), 100):
        assert assembler.insert(5000 + at, data[at : at + 100])
    assert assembler.held == len(data)
    assert assembler.footprint - assembler.held <= PIECE_COST * (len(data) // (JOIN_UP_TO - 100) + 1)
    assert assembler.blocks(4) == [(5000, 5000 + len(data))]
    found = b""
    while (piece := assembler.take(5000 + len(found))) is not None:
        found += piece
    assert found == data
    assert (assembler.held, assembler.footprint) == (0, 0)


def test_octets_far_apart_are_counted_with_their_objects_and_bounded() -> None:
    assembler = Assembler()
    kept = sum(assembler.insert(5000 + 2 * at, b"x") for at in range(2 * MAX_PIECES))
    assert (kept, assembler.held) == (MAX_PIECES, MAX_PIECES)
    real = sum(sys.getsizeof(item) for piece in assembler._pieces for item in (piece, *piece))
    assert real <= assembler.footprint <= 2 * real


def test_pieces_that_wrap_around_are_joined() -> None:
    assembler = Assembler()
    assembler.insert(2**32 - 5, b"12345")
    assembler.insert(0, b"678")
    assert assembler.take(2**32 - 5) == b"12345678"
