"""The worker's process, with a packet path that is played."""

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.control import process
from tunproxy.control.process import SIGNALS, Identity, WorkerProcess
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.device.tun import Offload, TunDevice
from tunproxy.errors import SystemChangeError, TunproxyError, UpstreamError
from tunproxy.host.privileges import SocketNeeds

pytestmark = needs_namespaces

Serve = Callable[..., None]


def start(serve: Serve, forget: Callable[[], object] = lambda: None) -> WorkerProcess:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    settings = WorkerSettings(device=TunDevice(-1, "tun0", Offload()))
    return WorkerProcess(settings, Identity(61_000, 61_000, SocketNeeds()), serve=serve, forget=forget)  # type: ignore[arg-type]


def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    on_ready(f"serving as {os.getuid()}")  # as root until here: it returns as another user
    signal.sigwait([signal.SIGTERM])


def test_worker_tells_its_line_and_is_another_user_then() -> None:
    def check() -> None:
        worker = start(serve)
        assert worker.wait_ready() == "serving as 0"
        assert "Uid:\t61000\t61000" in Path(f"/proc/{worker.pid}/status").read_text()
        assert not worker.has_ended()
        worker.stop()
        assert worker.has_ended()
        assert worker.how_it_ended() == "exit code 0"
        worker.stop()

    isolated(check)


def test_worker_that_cannot_start_says_why() -> None:
    def failing(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        raise UpstreamError("no way out")

    def check() -> None:
        worker = start(failing)
        with pytest.raises(TunproxyError, match=r"^no way out$"):
            worker.wait_ready()
        worker.stop()

    isolated(check)


def test_worker_with_too_few_descriptors_says_so() -> None:
    def failing(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def check() -> None:
        worker = start(failing)
        with pytest.raises(TunproxyError, match=r"^cannot carry packets: too many open files \(allow more"):
            worker.wait_ready()
        worker.stop()

    isolated(check)


@pytest.mark.parametrize(
    ("end", "words"),
    [(lambda: os._exit(3), "exit code 3"), (lambda: os.kill(os.getpid(), 9), "killed by signal 9")],
)
def test_worker_that_ends_before_it_serves_is_an_error(end: Callable[[], None], words: str) -> None:
    def ending(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        end()

    def check() -> None:
        worker = start(ending)
        with pytest.raises(TunproxyError, match=f"^the worker did not start: {words}$"):
            worker.wait_ready()

    isolated(check)


def test_worker_that_fails_while_it_serves_says_why() -> None:
    def failing(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        on_ready("ready")
        raise SystemChangeError("lost the device: somebody deleted it")

    def check() -> None:
        worker = start(failing)
        assert worker.wait_ready() == "ready"
        assert worker.how_it_ended() == "lost the device: somebody deleted it"
        worker.stop()

    isolated(check)


def test_worker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        time.sleep(30)

    def check() -> None:
        monkeypatch.setattr(process, "START_SECONDS", 0.3)
        worker = start(silent)
        with pytest.raises(TunproxyError, match=r"^the worker did not start: no answer in 0.3 s$"):
            worker.wait_ready()
        worker.stop()
        assert worker.how_it_ended() == "killed by signal 15"

    isolated(check)


def test_stop_asked_for_while_waiting_ends_the_waiting() -> None:
    def silent(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        time.sleep(30)

    def check() -> None:
        worker = start(silent)
        os.kill(os.getpid(), signal.SIGTERM)
        assert worker.wait_ready() is None
        worker.stop()

    isolated(check)


def test_worker_deaf_to_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        on_ready("ready")
        time.sleep(30)

    def check() -> None:
        monkeypatch.setattr(process, "STOP_SECONDS", 0.3)
        worker = start(deaf)
        assert worker.wait_ready() is not None
        worker.stop()
        assert worker.how_it_ended() == "killed by signal 9"

    isolated(check)


def test_worker_has_its_end_of_the_questions_and_not_ours() -> None:
    def answering(settings: WorkerSettings, *, on_ready: Callable[[str], None]) -> None:
        assert settings.questions is not None
        on_ready("ready")
        settings.questions.setblocking(True)
        settings.questions.send(settings.questions.recv(100).upper())
        assert settings.questions.recv(100) == b"", "the worker holds the supervisor's end"

    def check() -> None:
        worker = start(answering)
        assert worker.wait_ready() == "ready"
        worker.questions.setblocking(True)
        worker.questions.send(b"how are you")
        assert worker.questions.recv(100) == b"HOW ARE YOU"
        worker.questions.close()
        assert worker.how_it_ended() == "exit code 0"
        worker.stop()

    isolated(check)


def test_supervisors_own_things_are_forgotten_in_the_worker_only() -> None:
    def check() -> None:
        reading, writing = os.pipe()
        forgotten = os.dup(writing)
        os.close(writing)
        worker = start(serve, forget=lambda: os.close(forgotten))
        assert worker.wait_ready() is not None
        os.close(forgotten)
        assert os.read(reading, 1) == b"", "the worker holds what it should have closed"
        worker.stop()

    isolated(check)


def test_key_pressed_for_the_supervisor_does_not_reach_the_worker() -> None:
    def check() -> None:
        worker = start(serve)
        assert worker.wait_ready() is not None
        assert os.getpgid(worker.pid) == worker.pid
        worker.stop()

    isolated(check)
