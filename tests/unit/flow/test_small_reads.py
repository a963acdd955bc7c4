"""One buffer for all small reads."""

import os
from collections.abc import Iterator

import pytest

from tunproxy.flow.small_reads import SmallReads


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_NONBLOCK)
    yield ends
    for end in ends:
        os.close(end)


def test_what_was_read_stays_when_the_next_is_read(pipe: tuple[int, int]) -> None:
    reads = SmallReads(100)
    os.write(pipe[1], b"first")
    first = reads.read(pipe[0])
    os.write(pipe[1], b"second")
    assert (first, reads.read(pipe[0])) == (b"first", b"second")


def test_no_more_than_the_size_is_read(pipe: tuple[int, int]) -> None:
    reads = SmallReads(4)
    os.write(pipe[1], b"abcdef")
    assert [reads.read(pipe[0]), reads.read(pipe[0])] == [b"abcd", b"ef"]


def test_nothing_there_raises_and_the_end_is_empty(pipe: tuple[int, int]) -> None:
    reads = SmallReads(4)
    with pytest.raises(BlockingIOError):
        reads.read(pipe[0])
    with open("/dev/null", "rb") as null:
        assert reads.read(null.fileno()) == b""
