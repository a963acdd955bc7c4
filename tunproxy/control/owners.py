"""Which process a flow is of, asked by the worker and answered by the supervisor.

    worker ── {"id": 7, "flow": ["tcp", "0a000001", 4000, "01020304", 443]} ──▶ supervisor
           ◀── {"id": 7, "process": {…}} ──

Only root may look at everybody's processes, and the worker faces the network: so it asks, for flows about
which a rule wants to know, and for no other. It learns nothing but the owners of flows.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final  # Any as json gives it

from tunproxy.errors import SystemChangeError
from tunproxy.host.owners import SocketOwners
from tunproxy.host.process import Process

MAX_MESSAGE: Final = 16 << 10  # octets: a path and a control group of 4096 each, and room for escapes

# our choices
PATIENCE: Final = 3.0  # seconds; thousands of processes take tens of milliseconds
MAX_ASKED: Final = 256  # flows that wait for an answer; the rest is told that nobody knows

_NO_ANSWER: Final = Process(why="whoever may look at processes does not answer")


class AskedOwners:
    """The worker's end: a source of processes for rules (``decide.trace.ProcessSource``)."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock: Final = sock
        self._loop: Final = loop
        self._asked: Final[dict[int, asyncio.Future[Process]]] = {}
        self._number = 0
        loop.add_reader(sock, self._on_answer)

    def close(self) -> None:
        """Ask nothing any more; whoever waits learns that nobody knows."""
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for future in self._asked.values():
            if not future.done():
                future.set_result(_NO_ANSWER)

    def look(self, network: str, source: bytes, source_port: int, target: bytes, port: int) -> Process | None:
        """Return None: it takes asking, but for pings, of which the kernel does not tell whose they are."""
        if network in ("tcp", "udp"):
            return None
        return Process(why="the kernel does not tell whose pings these are")

    async def search(
        self, network: str, source: bytes, source_port: int, target: bytes, port: int
    ) -> Process:
        """Return the owner, or why it is unknown, within PATIENCE. Never raises but when it is cancelled."""
        if len(self._asked) >= MAX_ASKED:
            return Process(why="too many flows have been asked about at once")
        self._number += 1
        number = self._number
        flow = [network, source.hex(), source_port, target.hex(), port]
        future: asyncio.Future[Process] = self._loop.create_future()
        self._asked[number] = future
        try:
            self._sock.send(json.dumps({"id": number, "flow": flow}).encode())
            async with asyncio.timeout(PATIENCE):
                return await future
        except (OSError, TimeoutError):
            return _NO_ANSWER
        finally:
            del self._asked[number]

    def _on_answer(self) -> None:
        try:
            message = self._sock.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._loop.remove_reader(self._sock)
            return
        said = json.loads(message)
        future = self._asked.get(said["id"])
        if future is not None and not future.done():
            future.set_result(Process(**said["process"]))


def tell_owners(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> Callable[[], None]:
    """Answer over the supervisor's end until the returned function is called, or the worker has gone.

    What is asked is believed to be nothing but octets: the worker faces the network.
    """
    thread = ThreadPoolExecutor(1, "processes")
    finders: list[SocketOwners] = []

    def find(flow: tuple[str, bytes, int, bytes, int]) -> Process:
        try:
            if not finders:
                finders.append(SocketOwners())
            return finders[0].find_now(*flow)
        except SystemChangeError as error:
            return Process(why=str(error))

    def on_question() -> None:
        try:
            message = sock.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            loop.remove_reader(sock)
            return
        read = _read(message)
        if read is not None:
            number, flow = read
            found = loop.run_in_executor(thread, find, flow)
            found.add_done_callback(lambda done: answer(number, done))

    def answer(number: int, done: "asyncio.Future[Process]") -> None:
        if not done.cancelled():
            said = json.dumps({"id": number, "process": asdict(done.result())}).encode()
            with contextlib.suppress(OSError):  # it does not read, or has ended
                sock.send(said)

    def stop() -> None:
        loop.remove_reader(sock)
        thread.shutdown(wait=True, cancel_futures=True)
        for finder in finders:
            finder.close()

    loop.add_reader(sock, on_question)
    return stop


def _read(message: bytes) -> tuple[int, tuple[str, bytes, int, bytes, int]] | None:
    """Return what is asked, None where that makes no sense."""
    try:
        said: dict[str, Any] = json.loads(message)
        network, source, source_port, target, port = said["flow"]
        packed, other = bytes.fromhex(source), bytes.fromhex(target)
        number = int(said["id"])
        ports = int(source_port), int(port)
    except (ValueError, TypeError, KeyError):
        return None
    good = len(packed) in (4, 16) and len(other) == len(packed)
    if network not in ("tcp", "udp") or not good or not all(0 <= each <= 0xFFFF for each in ports):
        return None
    return number, (network, packed, ports[0], other, ports[1])
