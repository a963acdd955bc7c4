"""A command that we wait for, in step with the terminal and with whoever waits for us.

The command stays in our process group, as a command run by env(1) or time(1) does, so that pipelines and
shell scripts see one job. What that asks of us:

    Ctrl-C, Ctrl-\\  reach command and us: the command decides, we do nothing
    Ctrl-Z          likewise; when the command has stopped, we stop, and our shell takes the terminal
    fg, bg          wake us, and we wake the command; it gets back the terminal if it had taken it
    TERM, HUP, …    sent to us by somebody, mean the command
    its end         a terminal that its dead process group still holds comes back to us

We have no signal handlers: signals stay blocked, and wait() takes them one by one.
"""

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Callable
from typing import Final

SENT_BY_KERNEL: Final = 0x80  # si_code of a key pressed on the terminal (asm-generic/siginfo.h: SI_KERNEL)
RELAYED: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
# We change the terminal's foreground group while we are not in it, and must not be stopped for that.
IGNORED: Final = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class CommandJob:
    """A child process of ours and what the terminal, our shell and it have to do with each other.

    Make the job, fork, call become_child() in the child, and adopt() and wait() in ourselves. From the
    first to close() signals are blocked; one that whoever started us chose to ignore stays ignored.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._group = os.getpgrp()
        self._terminal = _open_terminal()
        self._group_when_stopped = self._group
        self._ended = False
        relayed = [number for number in RELAYED if signal.getsignal(number) != signal.SIG_IGN]
        self._awaited = {*relayed, signal.SIGCHLD, signal.SIGCONT}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        self._dispositions = {number: signal.signal(number, signal.SIG_IGN) for number in IGNORED}

    def become_child(self) -> None:
        """Give a forked child the signals that we were given, without what Python did to them."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._restore_signals()
        self.forget()

    def forget(self) -> None:
        """Close our descriptor in another forked process."""
        if self._terminal >= 0:
            os.close(self._terminal)

    def adopt(self, pid: int) -> None:
        """Take a child process as the command."""
        self._pid = pid

    def send(self, number: int) -> None:
        """Send the command a signal; it has not been waited for, so the process id is still its own."""
        if not self._ended:
            os.kill(self._pid, number)

    def wait(self, on_child: Callable[[], None]) -> int:
        """Return the wait status of the command once it has ended.

        on_child is called when any child of ours has changed, this one or another.
        """
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                self._stop_with_command()
            elif pid:
                self._ended = True
                return status
            on_child()
            found = signal.sigwaitinfo(self._awaited)
            if found.si_signo == signal.SIGCONT:
                self._continue_command()
            elif found.si_signo != signal.SIGCHLD and found.si_code != SENT_BY_KERNEL:
                self.send(found.si_signo)

    def close(self) -> None:
        """Give back terminal and signals; waits for a command that was not waited for."""
        if self._pid and not self._ended:
            os.waitpid(self._pid, 0)
            self._ended = True
        with contextlib.suppress(OSError):
            self._reclaim_terminal()
        self.forget()
        while signal.sigtimedwait(self._awaited, 0):
            pass  # they were about a command that has ended
        self._restore_signals()

    def _restore_signals(self) -> None:
        for number, disposition in self._dispositions.items():
            signal.signal(number, disposition)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _stop_with_command(self) -> None:
        self._group_when_stopped = self._foreground()
        # To this thread, so that it is delivered before pthread_kill returns. Where no shell could wake
        # us, in an orphaned process group, the kernel does not stop us: then only the command is stopped.
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)

    def _continue_command(self) -> None:
        with contextlib.suppress(OSError):
            if self._foreground() == self._group and _exists(self._group_when_stopped):
                os.tcsetpgrp(self._terminal, self._group_when_stopped)
        self.send(signal.SIGCONT)

    def _foreground(self) -> int:
        """Return the process group that has the terminal, -1 where there is none."""
        try:
            return os.tcgetpgrp(self._terminal) if self._terminal >= 0 else -1
        except OSError:
            return -1

    def _reclaim_terminal(self) -> None:
        group = self._foreground()
        if group > 0 and (group == self._pid or not _exists(group)):
            os.tcsetpgrp(self._terminal, self._group)


def end_like(status: int) -> int:
    """End this process by the signal that ended another one, or return that one's exit code.

    status is a wait status. Returns 128 + the signal, as shells do, where a signal does not end us.
    """
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its core dump, if any, is the interesting one
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number


def _open_terminal() -> int:
    """Return a descriptor of our controlling terminal, -1 where we have none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1


def _exists(group: int) -> bool:
    """Tell whether a process group has any process left, be it another user's."""
    if group <= 0:
        return False
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
