"""The worker as a process of its own: started by the supervisor, unprivileged, and never left alone.

The worker is forked, so it has the device without opening anything; what else its parent has open is none of
its business (``host.descriptors``). Where it is to be another user, it
starts with our rights, because plugins and libraries may lie where that user cannot read them, and gives
them up before it handles the first packet; modules that it loads later it finds through descriptors
(``host.libraries``). When the supervisor dies, the kernel kills it.
"""

import asyncio
import contextlib
import dataclasses
import errno
import json
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn  # Any as JSON gives it

from tunproxy.control import questions
from tunproxy.control.serving import Serve
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.errors import SystemChangeError, TunproxyError
from tunproxy.host import libraries, privileges
from tunproxy.host.activity import Shot
from tunproxy.host.descriptors import let_go
from tunproxy.host.sandbox import Sandbox
from tunproxy.logs.setup import in_worker

# our choices
START_SECONDS: Final = 60.0  # much longer than a cold start on a slow disk takes
STOP_SECONDS: Final = 3.0  # then a worker that does not end is killed
SHOT_TRIES: Final = 10  # for a worker to say where it is
SHOT_SECONDS: Final = 0.03
MAX_MESSAGE: Final = 16_384
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what the host has too little of
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALS: Final = (*STOP_SIGNALS, signal.SIGCHLD)  # what a supervisor waits for

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Whom the worker runs as, and what it must still be able to do then."""

    uid: int
    gid: int
    needs: privileges.SocketNeeds
    is_confined: bool = True  # to what a packet path does (``host.sandbox``)
    writable: tuple[Path, ...] = ()  # folders that it writes to all the same


class WorkerProcess:
    """A running worker. Start it with SIGNALS blocked: the worker unblocks them for itself."""

    def __init__(
        self,
        settings: WorkerSettings,
        identity: Identity | None,
        *,
        serve: Serve,
        forget: Callable[[], None] | None = None,
        keep: Collection[int] | None = None,
    ) -> None:
        """Fork the worker; forget closes there what belongs to the supervisor alone.

        With keep the worker has these descriptors of ours, and no others. Without an identity it stays who
        we are.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.questions, answers = questions.socket_pair()  # while it runs, what status asks goes this way
        self._shot: Shot | None = (shot := Shot())
        supervisor = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            self.questions.close()
            if forget is not None:
                forget()
            if keep is not None:
                let_go({theirs.fileno(), answers.fileno(), shot.fd, *keep})
            settings = dataclasses.replace(settings, questions=answers)
            shot.take_here()
            _run(settings, identity, serve=serve, channel=theirs, supervisor=supervisor)
        theirs.close()
        answers.close()
        self._channel = ours
        self._status: int | None = None
        self._is_asked = False  # to end
        self._told = ""  # why it could not start
        self.sandbox: dict[str, str] = {}  # what it has given up besides its user, once it is ready

    def wait_ready(self) -> str | None:
        """Return the worker's start-up line once it serves; raises TunproxyError when it cannot.

        A signal that asks us to stop ends the waiting as well, with None.
        """
        ends_at = time.monotonic() + START_SECONDS
        while time.monotonic() < ends_at:
            if signal.sigtimedwait(STOP_SIGNALS, 0):
                return None
            if select.select([self._channel], [], [], 0.1)[0]:
                return self._started(self._channel.recv(MAX_MESSAGE))
        raise SystemChangeError(f"the worker did not start: no answer in {START_SECONDS:g} s")

    async def ready(self) -> str:
        """Do as wait_ready does, for a supervisor at work; signals are its own business."""
        loop = asyncio.get_running_loop()
        self._channel.setblocking(False)
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await loop.sock_recv(self._channel, MAX_MESSAGE)
        except TimeoutError:
            why = f"no answer in {START_SECONDS:g} s"
            raise SystemChangeError(f"the worker did not start: {why}") from None
        return self._started(message)

    def _started(self, message: bytes) -> str:
        if not message:
            raise SystemChangeError(f"the worker did not start: {self.how_it_ended()}")
        told: dict[str, Any] = json.loads(message)
        if "error" in told:
            self._told = str(told["error"])
            raise TunproxyError(self._told)
        self.sandbox = told.get("sandbox", {})
        return str(told["ready"])

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
        last_word = self._told or self._last_word()
        if last_word:
            return last_word
        if os.WIFSIGNALED(self._status):
            return f"killed by signal {os.WTERMSIG(self._status)}"
        return f"exit code {os.WEXITSTATUS(self._status)}"

    def was_killed(self) -> bool:
        """Tell of a worker that has ended whether somebody did it: a person, or a kernel short of memory."""
        killed = self._status is not None and os.WIFSIGNALED(self._status) and not self._told
        return killed and os.WTERMSIG(self._status or 0) in (signal.SIGKILL, signal.SIGTERM)

    def _last_word(self) -> str:
        try:
            message = self._channel.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
        except OSError:
            return ""
        told: dict[str, str] = json.loads(message or b"{}")
        return told.get("error", "")

    def close_channel(self) -> None:
        """Let go of the way to a worker that has ended; whoever asks questions closes theirs himself."""
        self._channel.close()
        self._close_shot()

    def kill(self, why: str = "") -> None:
        """End the worker by force, if it has not ended; why is how it ended, then, in words."""
        if not self.has_ended():
            self._told = why or self._told
            os.kill(self.pid, signal.SIGKILL)

    async def where(self) -> str:
        """Return where in the code of a plugin the worker is, "" where it is not, or does not say."""
        if self._shot is None or self.has_ended():
            return ""
        self._shot.ask(self.pid)
        for _ in range(SHOT_TRIES):
            await asyncio.sleep(SHOT_SECONDS)
            place = "" if self._shot is None else self._shot.place()
            if place:
                return place
        return ""

    def _close_shot(self) -> None:
        if self._shot is not None:
            self._shot.close()
            self._shot = None

    def ask_to_stop(self) -> None:
        """Have the worker begin to end; stop() waits for it."""
        if not self._is_asked and not self.has_ended():
            self._is_asked = True
            os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        """End the worker, by force if it takes too long. May be called again."""
        self._channel.close()
        self.questions.close()
        self._close_shot()
        if self.has_ended():
            return
        self.ask_to_stop()
        ends_at = time.monotonic() + STOP_SECONDS
        while not self.has_ended() and time.monotonic() < ends_at:
            signal.sigtimedwait((signal.SIGCHLD,), 0.05)
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)
            self.how_it_ended()


def _send_error(channel: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):
        channel.send(json.dumps({"error": text[: MAX_MESSAGE // 2]}).encode())


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
        in_worker(settings.number)
        os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which stops us after it has put the routes back
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        privileges.raise_descriptor_limit()

        wanted = identity is not None and identity.is_confined
        sandbox = Sandbox(identity.writable) if identity is not None and wanted else None

        def on_ready(line: str) -> None:
            if identity is not None:
                libraries.keep_reachable()
                privileges.become(identity.uid, identity.gid, identity.needs)
            given_up = sandbox.confine() if sandbox is not None else {}
            with contextlib.suppress(BrokenPipeError):  # it has been told to end, and so will we
                channel.send(json.dumps({"ready": line[: MAX_MESSAGE // 2], "sandbox": given_up}).encode())

        serve(settings, on_ready=on_ready)
        code = 0
    except TunproxyError as error:
        _send_error(channel, str(error))
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            why = (error.strerror or str(error)).lower()
            _send_error(channel, f"cannot carry packets: {why} (allow more: ulimit, or Limit…= of the unit)")
        else:
            _log.critical("worker %d: this should not have happened", settings.number, exc_info=True)
            code = 1
    finally:
        os._exit(code)
