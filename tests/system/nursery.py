"""Starts tunproxy in milliseconds: processes that are forked off one that has loaded it already.

Most of a start are Python's imports. What starts here has its own session, its own network namespace and no
descriptors but its output; from the command line on it is tunproxy's own way. See ``nursery_main``.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

from tests.system.hostlab import eventually
from tests.system.kill_at import children_of
from tests.system.namespace import Namespace

PROGRAM = Path(__file__).with_name("nursery_main.py")
MAX_MESSAGE = 8192
PATIENCE = 30.0  # seconds for a process to be forked, the first time with all that is imported


class Nursery:
    """The tests' side of such a process. May be used by several threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(PATIENCE)
        self._process = subprocess.Popen([sys.executable, str(PROGRAM)], stdin=theirs)
        theirs.close()

    def close(self) -> None:
        self._socket.close()
        self._process.wait(30)

    def start(self, namespace: Namespace, *arguments: str) -> "Run":
        """Start ``tunproxy`` with arguments in a network namespace."""
        ours, theirs = os.pipe()
        told, telling = os.pipe()
        try:
            with self._turn, open(f"/run/netns/{namespace.name}", "rb") as inside:
                message = json.dumps(arguments).encode()
                descriptors = [inside.fileno(), theirs, telling]
                pid = self._ask(message, descriptors) or self._ask(message, descriptors)
                assert pid, "two nurseries were silent"
                return Run(pid, ours, told)
        finally:
            os.close(theirs)
            os.close(telling)

    def _ask(self, message: bytes, descriptors: list[int]) -> int:
        """Return the process id that is told, 0 with a warning where none is; then it is another nursery."""
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            socket.send_fds(self._socket, [message], descriptors)
            answer = self._socket.recv(MAX_MESSAGE)
        if answer:
            return int(answer)
        warnings.warn(f"a nursery was silent: {self._process.poll()} {self._doing()}", stacklevel=3)
        self._process.kill()
        self._process.wait(10)
        self._socket.close()
        self._begin()
        return 0

    def _doing(self) -> str:
        """Return what the kernel knows of what it does."""
        found = ""
        for name in ("status", "wchan", "syscall", "stack"):
            with contextlib.suppress(OSError):
                found += f"\n{name}: {Path(f'/proc/{self._process.pid}/{name}').read_text()}"
        return found


class Run:
    """One tunproxy that runs, or has run. close() ends it by force."""

    def __init__(self, pid: int, output: int, exit_code: int) -> None:
        self.pid = pid
        self.output = ""  # what was read of it so far
        self._out = output
        self._exit = exit_code
        self._code: int | None = None

    def close(self) -> None:
        if self._out >= 0:
            self.kill(signal.SIGKILL)
            self.wait()
            self._read(0)
            os.close(self._out)
            os.close(self._exit)
            self._out = -1

    def kill(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):  # ended, and we are not told yet
                os.kill(self.pid, number)

    def is_running(self) -> bool:
        if self._code is None and select.select([self._exit], [], [], 0)[0]:
            self._code = int(os.read(self._exit, 16))
        return self._code is None

    def wait(self, timeout: float = 20) -> int:
        """Return the exit code, as subprocess has it; TimeoutError where it does not end in time."""
        if not select.select([self._exit], [], [], timeout)[0] and self._code is None:
            raise TimeoutError(f"tunproxy does not end: {self.said()}")
        self.is_running()
        assert self._code is not None
        return self._code

    def expect(self, *words: str, timeout: float = 20) -> str:
        """Return all output once it has one of words; AssertionError where it ends, or time does, before."""
        assert eventually(
            lambda: any(word in self.said() for word in words) or not self.is_running(), timeout
        )
        assert any(word in self.said() for word in words), f"no {words} in {self.output!r}"
        return self.output

    def said(self) -> str:
        """Return all output there is by now."""
        while self._out >= 0 and self._read(0):
            pass
        return self.output

    def _read(self, timeout: float) -> bool:
        if not select.select([self._out], [], [], timeout)[0]:
            return False
        part = os.read(self._out, 1 << 16).decode(errors="replace")
        self.output += part
        return bool(part)

    def children(self) -> list[int]:
        """Return the process ids of the workers that it has now."""
        return children_of(self.pid)
