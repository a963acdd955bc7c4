"""What the kernel says of a process."""

import os
import time

from tunproxy.relay.usage import usage_of


def test_process_that_runs_uses_something() -> None:
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    found = usage_of(os.getpid())
    assert found is not None
    assert 0 < found.cpu_seconds <= time.process_time() + 0.02
    assert found.memory > 1 << 20


def test_process_that_is_over_has_no_memory() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = usage_of(pid)
    assert found is not None
    assert found.memory == 0
    os.waitpid(pid, 0)
    assert usage_of(pid) is None
