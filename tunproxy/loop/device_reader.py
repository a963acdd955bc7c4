"""Reading frames from the device: most are small, those that are not come one after the other.

Two things that ``os.read`` does cost more than the read itself. It allocates for the largest frame, and in
a heap that is in use that costs more than copying a small frame out of a buffer that stays. And it raises
when nothing is there, which compiled code pays for with traceback objects: a raw file returns None.
"""

import io
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.flow.small_reads import LARGE

FRAME_LEN: Final = 10 + 65536 + 40  # the largest super-packet, which IPv6 makes 40 octets longer

# our choice
LARGE_RUN: Final[i64] = 8  # frames after a large one that are read as if they were large, too


@final
@mypyc_attr(native_class=True)
class DeviceReader:
    """Reads one frame at a time from a non-blocking descriptor, which belongs to the caller."""

    def __init__(self, fd: int) -> None:
        file = io.FileIO(fd, closefd=False)
        # what a tap takes the place of (``loop.copying``)
        self.read_frame: Callable[[int], bytes | None] = file.read
        self.read_into: Callable[[bytearray], int | None] = file.readinto
        self._buffer: Final = bytearray(FRAME_LEN)
        self._view: Final = memoryview(self._buffer)
        self._large_run: i64 = 0

    def read(self) -> bytes | None:
        """Return the next frame, or None when there is none now. Raises OSError when the device is gone."""
        if self._large_run > 0:
            self._large_run -= 1
            frame = self.read_frame(FRAME_LEN)
        else:
            count = self.read_into(self._buffer)
            frame = None if count is None else self._view[:count].tobytes()
        if frame is not None and len(frame) >= LARGE:
            self._large_run = LARGE_RUN
        return frame
