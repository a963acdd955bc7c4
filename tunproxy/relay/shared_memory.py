"""A piece of memory that processes share, and its lock."""

import fcntl
import mmap
import os
from typing import Final


class SharedMemory:
    """Zeros, for this process and all that are forked from it. What nobody has written to takes no memory.

    Within its context one process at a time has the lock: the kernel's, on the file behind it (fcntl), so
    that a process that dies lets go of it.
    """

    def __init__(self, name: str, size: int) -> None:
        """name is for people who look into /proc; size is in octets. Raises OSError."""
        self.fd: Final = os.memfd_create(name)
        os.ftruncate(self.fd, size)
        self.octets: Final = mmap.mmap(self.fd, size)

    def __enter__(self) -> None:
        fcntl.lockf(self.fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of it; it is gone when nobody has it. There must be no view of octets any more."""
        self.octets.close()
        os.close(self.fd)
