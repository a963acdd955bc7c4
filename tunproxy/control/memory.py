"""The memory of a process that carries packets."""

import gc
from typing import Final

from tunproxy.host import libc

# our choices
KEPT_MEMORY: Final = 16 << 20  # octets of freed memory that stay ours: a burst of packets both ways
GC_THRESHOLD: Final = 20_000  # new objects before a look for cycles: flows are made without any


def settle_memory() -> None:
    """Tell both memory managers that packets come and go all the time, and most of the rest stays."""
    libc.keep_freed_memory(KEPT_MEMORY)
    gc.collect()
    gc.freeze()  # what lives as long as the process need not be looked at again
    gc.set_threshold(GC_THRESHOLD, 10, 10)
