"""Standard error that leads elsewhere: to whoever does not read, or has gone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def standard_error_at(fd: int) -> Iterator[None]:
    """Have standard error lead to a descriptor within the context."""
    kept = os.dup(2)
    os.dup2(fd, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """Yield the ends of a pipe that takes nothing more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, bytes(1 << 16))
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    yield reader, writer
    os.close(reader)
    os.close(writer)
