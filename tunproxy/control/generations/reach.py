"""One check in a process of its own: exit code 0 where it works, or else 1 and why, in one line.

    python -I -S reach.py tcp HOST PORT SECONDS
    python -I -S reach.py name HOST SECONDS
    python -I -S reach.py url URL SECONDS
    python -I -S reach.py run SECONDS COMMAND…

It is a program like any other on this host: what it asks for goes where the rules send it. It imports nothing
of ours, so that it starts quickly; resolvers that hang are ended with it.
"""

import contextlib
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Final

RUN: Final = "run"
BROKEN: Final = 500  # from this status on a server says that it does not work (RFC 9110 §15.6)


def main(arguments: Sequence[str]) -> int:
    """Do one check; return the exit code."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # of whoever has started us, and blocks some
    if arguments[0] == RUN:
        return _become(arguments[2:])
    kind, *about, limit = arguments
    seconds = float(limit)
    try:
        if kind == "tcp":
            with socket.create_connection((about[0], int(about[1])), timeout=seconds):
                return 0
        if kind == "name":
            socket.getaddrinfo(about[0], None)
            return 0
        _fetch(about[0], seconds)
    except (OSError, ValueError) as error:  # of urllib, and http.client's faults, too
        print(_why(error), file=sys.stderr)
        return 1
    except Exception as error:
        print(f"no sensible answer: {type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _become(command: Sequence[str]) -> int:
    """Become the command; return an exit code where that cannot be."""
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        print(f"{command[0]} cannot be run: {(error.strerror or str(error)).lower()}", file=sys.stderr)
    return 1


def _fetch(url: str, seconds: float) -> None:
    """Fetch a URL; any answer will do that is no server's fault. No proxy of the environment is used."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
    try:
        with contextlib.closing(opener.open(url, timeout=seconds)) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        if error.code >= BROKEN:
            raise OSError(f"it answers {error.code} {error.reason}") from error


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: that the server answers is enough."""

    def redirect_request(self, *_: object) -> None:
        return None


def _why(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    text = " ".join(text.split())
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
