"""Signals that are taken one by one, and that interrupt nobody.

A handler would have to be removed at the end, and between that and whatever comes next a signal kills us:
Ctrl-C twice, and routes stay behind. So signals are blocked before the first thread starts, in all threads
as they inherit it, and one thread waits for them. Who starts a program unblocks them for it.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence


@contextlib.contextmanager
def hearing(numbers: Sequence[int], take: Callable[[int], None]) -> Iterator[None]:
    """Call take with the number of each of these signals that comes, on the running loop, within the context.

    They must be blocked in every thread. Those that come later stay pending; none of them ends the process.
    """
    loop = asyncio.get_running_loop()
    is_over = threading.Event()

    def wait() -> None:
        while True:
            number = signal.sigwait(numbers)
            if is_over.is_set():
                return
            loop.call_soon_threadsafe(take, number)

    thread = threading.Thread(target=wait, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        assert thread.ident is not None
        signal.pthread_kill(thread.ident, numbers[0])  # for this thread only: it wakes, and looks up
        thread.join()
