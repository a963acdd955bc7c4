"""Ends a running ``up``, and waits until the network is as it was."""

import os
import select
import signal
from typing import Final

from tunproxy.control.endpoint import Found
from tunproxy.errors import SystemChangeError, TunproxyError

END_SECONDS: Final = 30.0  # our choice: fake addresses are drained, workers end, routes are put back


def end(found: Found, patience: float = END_SECONDS) -> None:
    """Have the tunproxy that listens there end, and return when it has, routes and rules included.

    Raises SystemChangeError where we may not, and TunproxyError where it takes longer than patience seconds.
    """
    if found.pid <= 0:
        raise TunproxyError(f"cannot end {found.name}: its process is in another container (end it there)")
    try:
        fd = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return
    except OSError as error:
        raise _not_ended(found, error) from error
    try:
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        if not select.select([fd], [], [], patience)[0]:
            raise TunproxyError(
                f"cannot end {found.name}: process {found.pid} has not ended within {patience:g} s "
                f"(sudo kill -9 {found.pid}; the kernel puts routes back, and tunproxy rescue the rest)"
            )
    except ProcessLookupError:
        return
    except OSError as error:
        raise _not_ended(found, error) from error
    finally:
        os.close(fd)


def _not_ended(found: Found, error: OSError) -> SystemChangeError:
    why = "not permitted (try as root: sudo)" if isinstance(error, PermissionError) else str(error.strerror)
    return SystemChangeError(f"cannot end {found.name}, process {found.pid}: {why.lower()}")
