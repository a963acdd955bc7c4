"""The process of one check, against servers of this test."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tunproxy.control.generations import reach
from tunproxy.control.generations.checks import REACH


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Answer each connection with these octets; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(10_000)
                    client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", 0, ""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0, ""),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 1, "it answers 503 Busy\n"),
        (b"no HTTP at all\r\n\r\n", 1, "no sensible answer: BadStatusLine\n"),
    ],
)
def test_url_is_fetched(
    answer: bytes, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.9:1/")  # which is not asked
    with answering(answer) as port:
        assert reach.main(["url", f"http://127.0.0.1:{port}/", "10"]) == code
    assert capsys.readouterr().err == said


def test_what_does_not_answer_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        port = server.getsockname()[1]
        assert reach.main(["tcp", "127.0.0.1", str(port), "5"]) == 0
        assert reach.main(["url", f"http://127.0.0.1:{port}/", "0.1"]) == 1
    assert reach.main(["tcp", "127.0.0.1", str(port), "5"]) == 1
    assert reach.main(["name", "localhost", "5"]) == 0
    assert reach.main(["name", "a" * 64 + ".example", "5"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["no answer in time", "connection refused"]
    assert len(lines) == 3


def test_it_needs_nothing_of_ours(tmp_path: Path) -> None:
    """Neither site-packages nor our own: it starts as quickly as Python does."""
    copy = tmp_path / "copy.py"
    copy.write_bytes(REACH.read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-S", copy, "run", "20", "sh", "-c", "exit 7"],
        timeout=30,
        check=False,
        cwd="/",
    )
    assert done.returncode == 7
