"""Taking a capture from a running tunproxy."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.packets.crew import Worker, packet
from tests.unit.control.packets.test_service import Served
from tunproxy.control.packets import pcapng
from tunproxy.control.packets.receiving import Receiving
from tunproxy.errors import TunproxyError


def with_service(path: Path, talk: Any, refusal: str = "") -> Any:
    """Return what talk returns, called in a thread with the path of a service and its worker."""

    async def run() -> Any:
        served = Served(path / "x.sock", [Worker(refusal)])
        async with served.running():
            return await asyncio.to_thread(talk, served.path, served.workers[0], asyncio.get_running_loop())

    return asyncio.run(run())


def test_file_comes_whole_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    def talk(path: Path, worker: Worker, loop: asyncio.AbstractEventLoop) -> list[bytes]:
        receiving = Receiving(path, {"filter": "tcp"})
        worker.ship(packet(1), packet(2))
        found = []
        for blocks in receiving.blocks():
            found.append(blocks)
            if receiving.packets == 2 and not receiving.is_whole and len(found) < 90:
                ending = asyncio.run_coroutine_threadsafe(worker.end_when_told(5, 3), loop)
                receiving.end()
                ending.result(10)
        receiving.close()
        assert (receiving.packets, receiving.lost, receiving.is_whole) == (2, 3, True)
        assert receiving.octets == sum(map(len, found))
        return found

    octets = b"".join(with_service(tmp_path, talk))
    kinds = [kind for kind, _ in pcapng.Blocks().feed(octets)]
    assert kinds == [pcapng.SECTION_HEADER, pcapng.INTERFACE, pcapng.PACKET, pcapng.PACKET, pcapng.STATISTICS]


def test_refusal_is_said_as_it_was(tmp_path: Path) -> None:
    def talk(path: Path, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        with pytest.raises(TunproxyError, match=r"^there are too many$"):
            Receiving(path, {})

    with_service(tmp_path, talk, "there are too many")


@contextmanager
def saying(path: Path, answer: bytes) -> Iterator[None]:
    """Listen at path, say answer to the first client, and hang up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def play() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(answer)

        thread = threading.Thread(target=play)
        thread.start()
        yield
        thread.join(10)


def chunked(*parts: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nX-Capture: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def test_file_of_one_who_dies_has_whole_blocks(tmp_path: Path) -> None:
    head = pcapng.section("", "", "") + pcapng.interface("tun0", "", 100, "", "")
    block = pcapng.packet(1, b"data", 4, flags=1)
    with saying(tmp_path / "x", chunked(head + block + block[:20])):
        receiving = Receiving(tmp_path / "x", {})
        assert b"".join(receiving.blocks()) == head + block
        assert (receiving.packets, receiving.is_whole) == (1, False)
    receiving.end()  # nobody is there any more who could
    receiving.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers 404 Not Found .is it an older one"),
        (b"nonsense\r\n", "cannot ask"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "nonsense: no number of a capture"),
        (b"", "cannot ask"),
    ],
)
def test_who_is_no_tunproxy_is_told_apart(answer: bytes, says: str, tmp_path: Path) -> None:
    with saying(tmp_path / "x", answer), pytest.raises(TunproxyError, match=says):
        Receiving(tmp_path / "x", {})


def test_nonsense_in_the_stream_is_an_error(tmp_path: Path) -> None:
    with saying(tmp_path / "x", chunked(bytes(100))):
        receiving = Receiving(tmp_path / "x", {})
        with pytest.raises(TunproxyError, match="answers nonsense: a block of 0 octets"):
            list(receiving.blocks())
        receiving.close()


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TunproxyError, match="cannot ask"):
        Receiving(tmp_path / "x", {})
