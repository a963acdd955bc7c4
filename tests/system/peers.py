"""The two ends of a transfer: streams of known content, small servers, and tasks that run beside the test."""

import contextlib
import functools
import hashlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from tests.system.namespace import Namespace

T = TypeVar("T")

BLOCK = (32 << 20) + 4099  # odd, so that no buffer or segment size divides it
CHUNK = 1 << 18
MEGABYTE = 1 << 20
GIGABYTE = 1 << 30


class Task(Generic[T]):
    """A call that runs in a thread; result() returns what it returned or raises what it raised."""

    def __init__(self, call: Callable[..., T], *arguments: Any) -> None:  # Any: whatever the call takes
        self._value: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call, *arguments), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[..., T], *arguments: Any) -> None:
        try:
            self._value = call(*arguments)
        except BaseException as error:  # handed to the thread that asks for the result
            self._error = error

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout: float = 30) -> T:
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"no result within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value


@functools.cache
def block() -> bytes:
    """Return the octets that every stream repeats; the same in each run."""
    return random.Random(9293).randbytes(BLOCK)


@functools.cache
def _block_file() -> int:
    fd = os.memfd_create("block")
    os.write(fd, block())
    return fd


@functools.cache
def digest_of(size: int) -> str:
    """Return the hash of the first size octets of the stream."""
    hasher, view, left = hashlib.blake2b(), memoryview(block()), size
    while left:
        part = view[: min(left, BLOCK)]
        hasher.update(part)
        left -= len(part)
    return hasher.hexdigest()


def send_stream(sock: socket.socket, size: int) -> None:
    """Send the first size octets of the stream, without copying them through this process."""
    with open(_block_file(), "rb", buffering=0, closefd=False) as file:
        left = size
        while left:
            sent = sock.sendfile(file, 0, min(left, BLOCK))
            if sent == 0:  # what the kernel says when the reset came while it waited for room
                raise BrokenPipeError("the connection is gone")
            left -= sent


def send_and_end(sock: socket.socket, size: int) -> None:
    """Send the first size octets of the stream, and no more ever."""
    send_stream(sock, size)
    sock.shutdown(socket.SHUT_WR)


def receive_digest(sock: socket.socket, *, limit: int = -1) -> tuple[int, str]:
    """Receive until the end of the stream, or limit octets; return how many there were, and their hash."""
    hasher, buffer, count = hashlib.blake2b(), memoryview(bytearray(CHUNK)), 0
    while count != limit:
        got = sock.recv_into(buffer, CHUNK if limit < 0 else min(CHUNK, limit - count))
        if not got:
            break
        hasher.update(buffer[:got])
        count += got
    return count, hasher.hexdigest()


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    """Return the next size octets; fewer only where the stream ends before."""
    parts, left = [], size
    while left:
        part = sock.recv(min(left, CHUNK))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def accept(listener: socket.socket, timeout: float = 20) -> socket.socket:
    sock, _ = listener.accept()
    sock.settimeout(timeout)
    return sock


def pair(namespace: Namespace, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return both ends of one new connection from a namespace to a listener."""
    client = namespace.connect_to(listener)
    try:
        return client, accept(listener)
    except BaseException:
        client.close()
        raise


def reset(sock: socket.socket) -> None:
    """Close with a RST instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.contextmanager
def serve_clients(
    namespace: Namespace, address: str, on_client: Callable[[socket.socket, str], None], port: int = 0
) -> Iterator[int]:
    """Serve TCP: on_client gets each client, and its address, one after the other. Yields the port.

    Who hangs up on on_client ends nothing, nor does who cannot be reached any more.
    """
    with namespace.listen(address, port) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    client, peer = listener.accept()
                    on_client(client, peer[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join(5)


@contextlib.contextmanager
def echo_server(namespace: Namespace, address: str) -> Iterator[tuple[str, int]]:
    """Answer datagrams with themselves meanwhile."""
    with namespace.datagram(address) as server:
        target: tuple[str, int] = server.getsockname()[:2]
        stop = threading.Event()
        task = Task(_echo_datagrams, server, stop)
        try:
            yield target
        finally:
            stop.set()
            with namespace.datagram(address) as waker:
                waker.sendto(b"", target)
            task.result()


def _echo_datagrams(sock: socket.socket, stop: threading.Event) -> None:
    sock.settimeout(None)
    while True:
        data, source = sock.recvfrom(65536)
        if stop.is_set():
            return
        sock.sendto(data, source)


@contextlib.contextmanager
def tcp_echo(where: Namespace, address: str) -> Iterator[int]:
    """Return what is sent to a TCP port there, on any number of connections."""

    def echo(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(65536):
                client.sendall(data)

    def take(client: socket.socket, peer: str) -> None:
        client.settimeout(30)
        threading.Thread(target=echo, args=(client,), daemon=True).start()

    with serve_clients(where, address, take) as port:
        yield port
