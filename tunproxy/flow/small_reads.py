"""Reading where mostly little comes: into one buffer that stays, and out of it what came.

``os.read`` allocates for the most that may come and gives the rest back. In a heap that is in use, that
costs more than copying a small packet; only large ones are worth it (``LARGE``).
"""

import os
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

os_readv: Final = os.readv

# our choice: from here on copying costs more than allocating
LARGE: Final[i64] = 16384


@final
@mypyc_attr(native_class=True)
class SmallReads:
    """Reads up to size octets at a time from any descriptor."""

    def __init__(self, size: i64) -> None:
        buffer = bytearray(int(size))
        self._into: Final = [buffer]
        self._view: Final = memoryview(buffer)

    def read(self, fd: int) -> bytes:
        """Return what one read brings. Raises OSError as os.read does."""
        count = os_readv(fd, self._into)
        return self._view[:count].tobytes()
