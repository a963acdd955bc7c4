"""Has loaded tunproxy, and forks one off whenever it is told to.

    python nursery_main.py      with a Unix socket as standard input

Each message is a command line, with three descriptors: the network namespace, output, and a pipe on which
the exit code is told. The answer is the process id. When the socket is closed, all end.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

CLONE_NEWNET = 0x40000000
MAX_MESSAGE = 8192


def main() -> None:
    """Be the nursery."""
    enter = _preload()
    requests = socket.socket(fileno=0)
    wakener, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    telling: dict[int, int] = {}
    while True:
        ready = select.select([requests, wakener], [], [])[0]
        if wakener in ready:
            os.read(wakener, 4096)
            _tell_ends(telling)
        if requests not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(requests, MAX_MESSAGE, 3)
        if not message:
            break
        inside, output, exit_code = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            enter(inside, CLONE_NEWNET)
            _be_tunproxy(json.loads(message), output)
        telling[pid] = exit_code
        os.close(inside)
        os.close(output)
        requests.send(str(pid).encode())
    for pid in telling:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _preload() -> Callable[[int, int], None]:
    """Import what the commands import when they are called; return what enters a namespace."""
    for name in ("cli.main", "control.up", "control.rescue"):
        importlib.import_module(f"tunproxy.{name}")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        sys.modules["tunproxy.cli.main"].run(["check"])  # loads plugins, and what reads configurations
    gc.freeze()  # collections in what is forked leave these pages alone
    enter: Callable[[int, int], None] = importlib.import_module("tunproxy.host.libc").setns
    return enter


def _tell_ends(telling: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            to = telling.pop(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(to, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(to)


def _be_tunproxy(arguments: Sequence[str], output: int) -> NoReturn:
    """In the forked process: have what a shell would have given it, and run the command line."""
    from tunproxy.cli.main import main as tunproxy

    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, standard in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(ours, standard)
        os.closerange(3, 256)
        sys.argv = ["tunproxy", *arguments]
        tunproxy()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
