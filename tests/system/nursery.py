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
from pathlib import Path

from tests.system.hostlab import eventually
from tests.system.kill_at import children_of
from tests.system.namespace import Namespace

PROGRAM = Path(__file__).with_name("nursery_main.py")
MAX_MESSAGE = 8192
PATIENCE = 20.0  # seconds for a process to be forked


class Nursery:
    """The tests' side of such a process. May be used by several threads."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(PATIENCE)
        self._turn = threading.Lock()
        self._process = subprocess.Popen([sys.executable, str(PROGRAM)], stdin=theirs)
        theirs.close()

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)

    def start(self, namespace: Namespace, *arguments: str) -> "Run":
        """Start ``tunproxy`` with arguments in a network namespace."""
        ours, theirs = os.pipe()
        told, telling = os.pipe()
        try:
            with self._turn, open(f"/run/netns/{namespace.name}", "rb") as inside:
                message = json.dumps(arguments).encode()
                socket.send_fds(self._socket, [message], [inside.fileno(), theirs, telling])
                return Run(self._answer(), ours, told)
        finally:
            os.close(theirs)
            os.close(telling)

    def _answer(self) -> int:
        """Return the process id that is told; AssertionError, with what it does instead, where none is."""
        try:
            answer = self._socket.recv(MAX_MESSAGE)
        except TimeoutError:
            answer = b""
        assert answer, f"the nursery does not answer: {self._process.poll()} {self._doing()}"
        return int(answer)

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
