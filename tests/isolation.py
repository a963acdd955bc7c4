"""Run a piece of a test in a child process with network and mount namespaces of its own."""

import os
import sys
import traceback
from collections.abc import Callable

import pytest

from tunproxy.host import libc

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/net/tun"), reason="needs root and /dev/net/tun"
)


def isolated(check: Callable[[], object]) -> None:
    """Call check where it can change network and mounts; fail with its traceback when it raises."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS)
            libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)
            check()
            code = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-60_000:])
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, told or f"wait status {status}"
