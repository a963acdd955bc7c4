"""Who is asked, and what becomes of answers that are none."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tunproxy.control import client, endpoint
from tunproxy.control.api import ApiThread
from tunproxy.control.client import NotRunningError, choose, fetch_dashboard, fetch_status
from tunproxy.control.endpoint import ALIVE, DEAD, DENIED, Found
from tunproxy.errors import SystemChangeError, TunproxyError

ALIVE_ONE = Found(Path("/run/tunproxy/tun0.sock"), ALIVE, 7)
ALIVE_TWO = Found(Path("/run/tunproxy/exec-9.sock"), ALIVE, 9)
DENIED_ONE = Found(Path("/run/tunproxy/tun1.sock"), DENIED)
DEAD_ONE = Found(Path("/run/tunproxy/tun2.sock"), DEAD)

There = Callable[..., None]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> There:
    """Return what says which sockets there are."""
    return lambda *found: monkeypatch.setattr(endpoint, "find", lambda: list(found))


def test_choose_the_only_one_that_runs(there: There) -> None:
    there(DEAD_ONE, ALIVE_ONE, DENIED_ONE)
    assert choose() == ALIVE_ONE


def test_choose_one_of_several_by_name(there: There) -> None:
    there(ALIVE_ONE, ALIVE_TWO)
    assert choose("exec-9") == ALIVE_TWO
    with pytest.raises(TunproxyError) as caught:
        choose()
    assert str(caught.value) == (
        "several tunproxy are running: tun0 (process 7), exec-9 (process 9) "
        "(choose one with --tun NAME, or --socket)"
    )
    assert caught.value.exit_code == 2


def test_choose_none_is_exit_code_3(there: There) -> None:
    there(DEAD_ONE)
    with pytest.raises(NotRunningError) as caught:
        choose()
    assert caught.value.exit_code == 3
    assert str(caught.value) == "no tunproxy is running (start one with tunproxy up, or tunproxy exec)"
    there(ALIVE_ONE)
    with pytest.raises(NotRunningError, match=r"^no tunproxy called 'tun9' is running"):
        choose("tun9")


def test_choose_by_process(there: There) -> None:
    there(ALIVE_ONE, ALIVE_TWO, DENIED_ONE)
    assert choose(pid=9) == ALIVE_TWO
    with pytest.raises(NotRunningError, match=r"^no tunproxy with process id 8 is running"):
        choose(pid=8)


def test_choose_one_that_is_forbidden_says_what_to_do(there: There) -> None:
    there(DENIED_ONE)
    with pytest.raises(SystemChangeError, match=r"^cannot ask .*tun1\.sock: permission denied \(try as root"):
        choose()


def test_choose_one_that_a_group_may_use_says_so(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    there(DENIED_ONE)
    monkeypatch.setattr(endpoint, "or_group", lambda path: f", or as a member of {path.name}'s")
    with pytest.raises(SystemChangeError, match=r"\(try as root: sudo, or as a member of tun1\.sock's\)$"):
        choose()


def test_choose_by_path(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with pytest.raises(NotRunningError, match=r"^no tunproxy listens at "):
        choose(path=str(path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert choose(path=str(path)) == Found(path, ALIVE, os.getpid())


def test_status_is_fetched(tmp_path: Path) -> None:
    async def status() -> dict[str, object]:
        return {"name": "tun0"}

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        listener.setblocking(False)
        api = ApiThread(listener, status)
        assert fetch_status(tmp_path / "x.sock") == {"name": "tun0"}
        with pytest.raises(TunproxyError, match=r"^only tunproxy up has a dashboard$"):
            fetch_dashboard(tmp_path / "x.sock")
        api.close()


def test_nobody_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(TunproxyError, match=r"^cannot ask .*x\.sock: no such file or directory$"):
        fetch_status(tmp_path / "x.sock")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "answers 500 Oh"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{x}", "answers nonsense: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "answers nonsense: no object"),
        (b"nonsense\r\n", r"cannot ask .*x\.sock: what it answers is not HTTP \(no tunproxy is there\)$"),
        (b"", r"cannot ask .*x\.sock: it hangs up without an answer$"),
        (None, r"no answer in 0\.2 s \(its process may be stopped\)"),
    ],
)
def test_answer_that_is_none_is_an_error(
    answer: bytes | None, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.2 if answer is None else 20)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        done = threading.Event()

        def play() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1000)
                if answer is None:
                    done.wait(5)
                else:
                    accepted.sendall(answer)

        thread = threading.Thread(target=play)
        thread.start()
        with pytest.raises(TunproxyError, match=complaint):
            fetch_status(tmp_path / "x.sock")
        done.set()
        thread.join()


def test_choose_what_serves_the_host_passes_over_those_of_exec_unless_one_is_named(there: There) -> None:
    there(ALIVE_ONE, ALIVE_TWO)
    assert choose(serves_host=True) == ALIVE_ONE
    assert choose("exec-9", serves_host=True) == ALIVE_TWO
    there(ALIVE_TWO)
    with pytest.raises(NotRunningError):
        choose(serves_host=True)
