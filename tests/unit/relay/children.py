"""What forked processes see of what is theirs together."""

import os
from collections.abc import Callable


def in_a_child(call: Callable[[], bool]) -> bool:
    """Return what call returns in a forked process."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(int(call()))
        finally:
            os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return bool(code)


def in_children(count: int, call: Callable[[int], int]) -> list[int]:
    """Return what call, which gets a number, returns in so many forked processes that begin at once."""
    ready, go = os.pipe()
    answers, answer = os.pipe()
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                os.close(go)
                os.read(ready, 1)  # until all are there
                os.write(answer, b"%08d" % call(number))
            finally:
                os._exit(0)
        pids.append(pid)
    os.close(go)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(answer)
    with os.fdopen(answers, "rb") as file:
        text = file.read()
    os.close(ready)
    assert len(text) == 8 * count
    return [int(text[at : at + 8]) for at in range(0, 8 * count, 8)]
