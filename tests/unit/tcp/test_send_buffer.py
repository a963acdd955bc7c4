"""The send buffer behaves as a bytearray would, whatever the pieces."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tunproxy.tcp.send_buffer import JOIN_BELOW, SendBuffer

SIZES = st.sampled_from([1, 2, 7, 100, JOIN_BELOW - 1, JOIN_BELOW, JOIN_BELOW + 1, 5000])
FRACTION = st.floats(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), SIZES, st.just(0.0)),
        st.tuples(st.just("acknowledge"), st.just(0), FRACTION),
        st.tuples(st.just("gather"), SIZES, FRACTION),
    ),
    max_size=60,
)


def octets(buffer: SendBuffer, offset: int, count: int) -> bytes:
    return b"".join(buffer.gather(offset, count))


@settings(deadline=None, derandomize=True, max_examples=300)
@given(STEPS)
def test_buffer_agrees_with_a_bytearray(steps: list[tuple[str, int, float]]) -> None:
    source = random.Random(1)
    buffer, model = SendBuffer(), bytearray()
    for step, size, fraction in steps:
        if step == "append":
            data = source.randbytes(size)
            buffer.append(data)
            model += data
        elif step == "acknowledge":
            count = int(fraction * len(model))
            buffer.acknowledge(count)
            del model[:count]
        elif model:
            offset = int(fraction * (len(model) - 1))
            count = min(size, len(model) - offset)
            assert octets(buffer, offset, count) == model[offset : offset + count]
        assert buffer.length == len(model)
    if model:
        assert octets(buffer, 0, len(model)) == model


def test_gather_hands_over_a_whole_piece_uncopied() -> None:
    buffer, data = SendBuffer(), bytes(10_000)
    buffer.append(data)
    assert buffer.gather(0, 10_000)[0] is data


def test_gather_of_a_large_part_is_a_view() -> None:
    buffer, data = SendBuffer(), bytes(range(256)) * 40
    buffer.append(data)
    (part,) = buffer.gather(100, JOIN_BELOW + 1)
    assert isinstance(part, memoryview)
    assert part.obj is data
    assert part == data[100 : 100 + JOIN_BELOW + 1]


def test_small_pieces_are_joined() -> None:
    buffer = SendBuffer()
    for number in range(10_000):
        buffer.append(bytes((number & 0xFF,)))
    assert len(buffer.gather(0, 10_000)) <= 10_000 // JOIN_BELOW + 2


def test_piece_that_was_gathered_does_not_change_when_more_is_joined() -> None:
    buffer = SendBuffer()
    buffer.append(b"first")
    buffer.append(b"second")
    parts = buffer.gather(0, 11)
    buffer.append(b"third")
    assert b"".join(parts) == b"firstsecond"
    assert octets(buffer, 0, 16) == b"firstsecondthird"


def test_acknowledged_pieces_are_let_go() -> None:
    buffer = SendBuffer()
    for _ in range(10):
        buffer.append(bytes(5000))
    buffer.acknowledge(49_999)
    assert buffer.gather(0, 1) == [b"\0"]
    buffer.acknowledge(1)
    assert buffer.length == 0


def test_place_of_the_last_gathering_moves_with_what_is_acknowledged() -> None:
    buffer = SendBuffer()
    for letter in b"abcdef":
        buffer.append(bytes((letter,)) * 3000)
    assert octets(buffer, 9000, 3) == b"ddd"
    buffer.acknowledge(4000)
    assert octets(buffer, 9500, 1) == b"e"
    assert octets(buffer, 4999, 2) == b"cd"
    assert octets(buffer, 1999, 2) == b"bc"
    assert octets(buffer, 0, 1) == b"b"


def test_part_of_something_larger_is_kept_uncopied_unless_it_is_small() -> None:
    whole = random.Random(2).randbytes(3 * JOIN_BELOW)
    view = memoryview(whole)
    buffer = SendBuffer()
    buffer.append(b"first")
    buffer.append_view(view[: 2 * JOIN_BELOW])
    buffer.append_view(view[2 * JOIN_BELOW : 2 * JOIN_BELOW + 7])
    buffer.append(b"last")
    assert buffer.length == 2 * JOIN_BELOW + 16
    found = buffer.gather(0, buffer.length)
    assert any(isinstance(piece, memoryview) and piece.obj is whole for piece in found)
    assert b"".join(found) == b"first" + whole[: 2 * JOIN_BELOW + 7] + b"last"
    assert isinstance(buffer.gather(10, 100)[0], bytes)
    buffer.acknowledge(5 + JOIN_BELOW)
    assert octets(buffer, 3, JOIN_BELOW + 4) == whole[JOIN_BELOW + 3 : 2 * JOIN_BELOW + 7]
