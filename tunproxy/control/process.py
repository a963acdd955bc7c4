"""The worker as a process of its own: started by the supervisor, unprivileged, and never left alone.

The worker is forked, so it has the device without opening anything. Where it is to be another user, it
starts with our rights, because plugins and libraries may lie where that user cannot read them, and gives
them up before it handles the first packet; modules that it loads later it finds through descriptors
(``host.libraries``). When the supervisor dies, the kernel kills it.
"""

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from tunproxy.control import questions
from tunproxy.control.serving import Serve
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.errors import SystemChangeError, TunproxyError
from tunproxy.host import libraries, privileges

# our choices
START_SECONDS: Final = 60.0  # much longer than a cold start on a slow disk takes
STOP_SECONDS: Final = 3.0  # then a worker that does not end is killed
MAX_MESSAGE: Final = 16_384
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALS: Final = (*STOP_SIGNALS, signal.SIGCHLD)  # what a supervisor waits for


@dataclass(frozen=True)
class Identity:
    """Whom the worker runs as, and what it must still be able to do then."""

    uid: int
    gid: int
    needs: privileges.SocketNeeds


class WorkerProcess:
    """A running worker. Start it with SIGNALS blocked: the worker unblocks them for itself."""

    def __init__(
        self, settings: WorkerSettings, identity: Identity | None, *, serve: Serve, forget: Callable[[], None]
    ) -> None:
        """Fork the worker; forget closes there what belongs to the supervisor alone.

        Without an identity it stays who we are.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.questions, answers = questions.socket_pair()  # while it runs, what status asks goes this way
        supervisor = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            self.questions.close()
            forget()
            settings = dataclasses.replace(settings, questions=answers)
            _run(settings, identity, serve=serve, channel=theirs, supervisor=supervisor)
        theirs.close()
        answers.close()
        self._channel = ours
        self._status: int | None = None

    def wait_ready(self) -> str | None:
        """Return the worker's start-up line once it serves; raises TunproxyError when it cannot.

        A signal that asks us to stop ends the waiting as well, with None.
        """
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at:
            if signal.sigtimedwait(STOP_SIGNALS, 0):
                return None
            if select.select([self._channel], [], [], 0.1)[0]:
                message = self._channel.recv(MAX_MESSAGE)
                if not message:
                    raise SystemChangeError(f"the worker did not start: {self.how_it_ended()}")
                told: dict[str, str] = json.loads(message)
                if "error" in told:
                    raise TunproxyError(told["error"])
                return told["ready"]
        raise SystemChangeError(f"the worker did not start: no answer in {START_SECONDS:g} s")

    def has_ended(self) -> bool:
        """Tell whether the worker has ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def how_it_ended(self) -> str:
        """Return in words how the worker ended, waiting for its end: in its own, if it could."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        last_word = self._last_word()
        if last_word:
            return last_word
        if os.WIFSIGNALED(self._status):
            return f"killed by signal {os.WTERMSIG(self._status)}"
        return f"exit code {os.WEXITSTATUS(self._status)}"

    def _last_word(self) -> str:
        try:
            message = self._channel.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
        except OSError:
            return ""
        told: dict[str, str] = json.loads(message or b"{}")
        return told.get("error", "")

    def stop(self) -> None:
        """End the worker, by force if it takes too long. May be called again."""
        self._channel.close()
        self.questions.close()
        if self.has_ended():
            return
        os.kill(self.pid, signal.SIGTERM)
        ends_at = time.monotonic() + STOP_SECONDS
        while not self.has_ended() and time.monotonic() < ends_at:
            signal.sigtimedwait((signal.SIGCHLD,), 0.05)
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)
            self.how_it_ended()


def _run(
    settings: WorkerSettings,
    identity: Identity | None,
    *,
    serve: Serve,
    channel: socket.socket,
    supervisor: int,
) -> NoReturn:
    """Be the worker; in the forked process, which never returns from here."""
    code = TunproxyError.exit_code
    try:
        privileges.die_with(supervisor)
        os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which stops us after it has put the routes back
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        privileges.raise_descriptor_limit()

        def on_ready(line: str) -> None:
            if identity is not None:
                libraries.keep_reachable()
                privileges.become(identity.uid, identity.gid, identity.needs)
            channel.send(json.dumps({"ready": line[: MAX_MESSAGE // 2]}).encode())

        serve(settings, on_ready=on_ready)
        code = 0
    except TunproxyError as error:
        with contextlib.suppress(OSError):
            channel.send(json.dumps({"error": str(error)[: MAX_MESSAGE // 2]}).encode())
    except BaseException:
        traceback.print_exc()  # our own mistake, worth a report
        code = 1
    finally:
        os._exit(code)
