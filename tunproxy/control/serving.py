"""What exec and up know of the packet path, and how they talk to the user."""

from collections.abc import Callable
from typing import Protocol

from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.logs.setup import tell as tell
from tunproxy.logs.setup import warn as warn


class Serve(Protocol):
    """Runs the packet path in this process until it is told to stop.

    Returns on SIGTERM, or when stop_fd becomes readable. Calls on_ready once, with a line for the user,
    when everything that is needed is loaded and open, and before it handles the first packet: what it
    does after that, it does with the rights that on_ready leaves it.
    """

    def __call__(
        self, settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]
    ) -> object: ...
