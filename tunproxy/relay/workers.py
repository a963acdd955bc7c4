"""The relay's first process: it makes the workers, makes others where they die, and ends with them.

It handles no client. What the workers share is the board of counts, what was said to Shadowsocks before
(``shared_salts``, ``shared_sessions``), and nothing else; a worker's sockets for datagrams outlive it
(``desks``). Signals: SIGTERM and SIGINT begin the end, a second one is the end.
"""

import asyncio
import logging
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

from tunproxy.errors import SystemChangeError, TunproxyError
from tunproxy.host.notify import notify
from tunproxy.logs.setup import in_worker
from tunproxy.relay import scrape
from tunproxy.relay.addresses import Listen, parse_listen
from tunproxy.relay.desks import desks_of
from tunproxy.relay.listening import reserve
from tunproxy.relay.metrics import Board
from tunproxy.relay.service import user_limits
from tunproxy.relay.settings import RelayConfig
from tunproxy.relay.shared_salts import salts_of
from tunproxy.relay.worker import Post, work

# our choices
QUICK: Final = 1.0  # seconds: who dies sooner is not started again before they are over
START_LIMIT: Final = 30.0  # seconds for all workers to listen
END_LIMIT: Final = 5.0  # seconds after the drain in which a worker ends, or is killed
SPARE: Final = 64  # descriptors that are for no connection
PER_CONNECTION: Final = 2

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP}

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Child:
    name: str
    run: Callable[[], None]
    began_at: float


def serve(config: RelayConfig) -> int:
    """Run the relay until it is told to end; return the exit code. Raises TunproxyError where it cannot."""
    return _Supervisor(config).run()


def check_descriptors(connections: int) -> None:
    """Raise the soft limit of open files, and tell where it is too low for so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * PER_CONNECTION + SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < wanted:
        _log.warning(
            "the limit of open files is %d, enough for some %d of %d connections (LimitNOFILE, ulimit -n)",
            soft, max(0, soft - SPARE) // PER_CONNECTION, connections,
        )  # fmt: skip


class _Supervisor:
    """One run of the relay."""

    def __init__(self, config: RelayConfig) -> None:
        self._config: Final = config
        self._count: Final = config.workers or len(os.sched_getaffinity(0))
        self._board: Final = Board(self._count, list(user_limits(config)))
        listens = [parse_listen(text) for text in config.listen]
        hidden = [parse_listen(text) for text in config.shadowsocks.listen] if config.shadowsocks else []
        if not listens and not hidden:
            raise SystemChangeError("there is nowhere to listen (listen is empty)")
        self._held, found = reserve([*listens, *hidden])
        self._listens: Final = found[: len(listens)]
        self._hidden: Final = found[len(listens) :]
        self._salts: Final = salts_of(config)
        self._desks: Final = desks_of(config, self._hidden, self._count)
        self._metrics: Listen | None = None
        if config.metrics.listen:
            held, (self._metrics,) = reserve([parse_listen(config.metrics.listen)])
            self._held += held
        self._ready, self._ready_end = os.pipe()
        self._orphaned, self._lifeline = os.pipe()
        self._children: Final[dict[int, _Child]] = {}
        self._waiting: Final[list[tuple[float, _Child]]] = []  # to be started again, and when
        self._is_ending = False
        self._kill_at = 0.0

    def run(self) -> int:
        old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            check_descriptors(self._config.limits.connections)
            if self._metrics is not None:
                self._start("metrics", self._scrape)
            for number in range(self._count):
                self._start(f"worker {number}", partial(self._work, number))
            if not self._await_ready():
                return 1
            self._tell()
            while self._children or self._waiting:
                self._step()
            return 0
        finally:
            for pid in self._children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            self._let_go()
            for fd in (self._ready, self._ready_end, self._orphaned, self._lifeline):
                os.close(fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)

    # what goes on

    def _step(self) -> None:
        """Wait for a signal, or for something to do, and do it."""
        now = time.monotonic()
        moments = [at for at, _ in self._waiting]
        if self._is_ending:
            moments.append(self._kill_at)
        wait = max(0.0, min(moments) - now) if moments else 60.0
        caught = signal.sigtimedwait(_SIGNALS, wait)
        if caught is not None and caught.si_signo in (signal.SIGTERM, signal.SIGINT):
            self._on_term()
        self._reap()
        now = time.monotonic()
        for entry in [entry for entry in self._waiting if entry[0] <= now]:
            self._waiting.remove(entry)
            self._start(entry[1].name, entry[1].run)
        if self._is_ending and now >= self._kill_at:
            for pid, child in self._children.items():
                _log.error("%s (%d) does not end, and is killed", child.name, pid)
                os.kill(pid, signal.SIGKILL)
            self._kill_at = now + END_LIMIT

    def _on_term(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            notify("STOPPING=1")
            self._waiting.clear()
            self._kill_at = time.monotonic() + self._config.drain + END_LIMIT
            _log.info("relay: nobody is let in any more; flows have %g s to end", self._config.drain)
            self._let_go()
        else:
            self._kill_at = time.monotonic() + END_LIMIT
        for pid, child in self._children.items():
            if child.name != "metrics":
                os.kill(pid, signal.SIGTERM)

    def _let_go(self) -> None:
        """Leave the places to those who serve them."""
        for sock in self._held:
            sock.close()
        self._held.clear()
        if self._desks is not None:
            self._desks.close()

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            child = self._children.pop(pid)
            if self._is_ending:
                continue
            age = time.monotonic() - child.began_at
            _log.error("%s (%d) has ended, %s: another one takes its place", child.name, pid, _how(status))
            self._waiting.append((time.monotonic() + (QUICK if age < QUICK else 0.0), child))
        if self._is_ending and all(child.name == "metrics" for child in self._children.values()):
            for pid in self._children:
                os.kill(pid, signal.SIGTERM)

    def _await_ready(self) -> bool:
        """Return whether all workers listen."""
        until = time.monotonic() + START_LIMIT
        left = self._count
        while left:
            ready, _, _ = select.select([self._ready], [], [], 0.05)
            if ready:
                left -= len(os.read(self._ready, left))
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                child = self._children.pop(pid)
                _log.error("%s could not begin: %s", child.name, _how(status))
                return False
            if time.monotonic() > until:
                _log.error("the workers do not begin")
                return False
        return True

    def _tell(self) -> None:
        places = [str(listen) for listen in self._listens]
        places += [f"{listen} (Shadowsocks)" for listen in self._hidden]
        places += [f"{self._metrics} (metrics)"] if self._metrics else []
        notify("READY=1")
        workers = "1 worker" if self._count == 1 else f"{self._count} workers"
        _log.info("relay: listening at %s, %s", ", ".join(places), workers)

    # children

    def _start(self, name: str, run: Callable[[], None]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be(run)
        self._children[pid] = _Child(name, run, time.monotonic())

    def _be(self, run: Callable[[], None]) -> NoReturn:
        """Be a child, and end."""
        code = 1
        try:
            os.close(self._lifeline)
            os.close(self._ready)
            for sock in self._held:
                sock.close()
            # The terminal's Ctrl-C reaches all of us: the first process passes on what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            run()
            code = 0
        except TunproxyError as error:
            _log.error("%s", error)
        except BaseException:
            _log.exception("worker %d: this should not have happened", os.getpid())
        finally:
            os._exit(code)

    def _work(self, number: int) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        in_worker(number)
        desk = self._desks.take(number) if self._desks is not None else None
        post = Post(number, self._listens, self._hidden, self._salts, desk)
        asyncio.run(work(self._config, post, self._board, self._ready_end, self._orphaned))

    def _scrape(self) -> None:
        assert self._metrics is not None
        if self._desks is not None:
            self._desks.close()
        try:
            scrape.serve(self._board, self._metrics, self._orphaned)
        except OSError as error:
            raise SystemChangeError(
                f"cannot listen at {self._metrics}: {(error.strerror or str(error)).lower()}"
            ) from error


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"with exit code {os.WEXITSTATUS(status)}"
