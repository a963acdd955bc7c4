"""What has to work through the rules, as [apply] lists it, and whether it does.

    https://www.example.com/       a URL: any answer will do but a server's fault (5xx)
    192.0.2.7:22, example.com:443  a TCP connection
    example.com                    a name that is resolved
    run: /usr/local/bin/check -q   a command, without a shell; exit code 0 is well

Each runs as a process of its own, as whoever runs us, and all of them at once. So they use the network as
programs of ours do, through the device, names included.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tunproxy.errors import ConfigError
from tunproxy.upstream.proxy import is_address

RUN: Final = "run:"
SLOW: Final = "no answer in"
REACH: Final = Path(__file__).with_name("reach.py")
# our choices
PAUSE: Final = 0.3  # seconds between two tries
MAX_SAID: Final = 65_536  # octets of what a command says
MAX_TEXT: Final = 200  # letters of that, from its last line
MOST: Final = 20  # checks
MARGIN: Final = 0.2  # seconds that a process has to say why it took too long

_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")


def argv_of(check: str, seconds: float) -> Sequence[str]:
    """Return the command that a check is; raises ConfigError for what is none. seconds bound it."""
    text = check.strip()
    reach = [sys.executable, "-I", "-S", str(REACH)]
    if text.startswith(RUN):
        try:
            words = shlex.split(text.removeprefix(RUN))
        except ValueError as error:
            raise ConfigError(f"{check!r}: {str(error).lower()}") from None
        if not words:
            raise ConfigError(f"{check!r} names no command")
        return [*reach, "run", f"{seconds:g}", *words]
    if "://" in text:
        try:
            found = urlsplit(text)
            is_sound = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
        except ValueError:
            is_sound = False
        if not is_sound or " " in text:
            raise ConfigError(f"{check!r} is no URL of http or https")
        return [*reach, "url", text, f"{seconds:g}"]
    if (target := _target(text)) is not None:
        return [*reach, "tcp", *target, f"{seconds:g}"]
    if _NAME.fullmatch(text) and not is_address(text):
        return [*reach, "name", text, f"{seconds:g}"]
    raise ConfigError(f"{check!r} cannot be checked (a URL, HOST:PORT, a name, or {RUN} and a command can)")


def problem_with(checks: Sequence[str]) -> tuple[int, str] | None:
    """Return which of the checks is none, and why; None where all are."""
    for at, check in enumerate(checks):
        try:
            argv_of(check, 1.0)
        except ConfigError as error:
            return at, str(error)
    return (MOST, f"more than {MOST} checks") if len(checks) > MOST else None


async def failures(checks: Iterable[str], seconds: float, *, patient: bool = False) -> Mapping[str, str]:
    """Return which of the checks fail, and why; each has so many seconds.

    patient: what fails is tried again for as long.
    """
    each = list(dict.fromkeys(checks))
    found = await asyncio.gather(*(_failure(check, seconds, patient=patient) for check in each))
    return {check: why for check, why in zip(each, found, strict=True) if why}


async def _failure(check: str, seconds: float, *, patient: bool) -> str:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    why = await _try(check, seconds)
    while why and patient and loop.time() + PAUSE < until:
        await asyncio.sleep(PAUSE)
        again = await _try(check, until - loop.time())
        if not again.startswith(SLOW):  # which the little time that was left explains
            why = again
    return why


async def _try(check: str, seconds: float) -> str:
    """Do a check once; return why it fails, "" where it does not."""
    with open(_sheet(), "r+b") as said:  # no pipe, which others may hold open
        try:
            process = await asyncio.create_subprocess_exec(
                *argv_of(check, seconds),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            return f"it cannot be run: {(error.strerror or str(error)).lower()}"
        try:
            async with asyncio.timeout(seconds + MARGIN):
                await process.wait()
        except TimeoutError:
            return f"{SLOW} {seconds:.3g} s"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):  # and what it has started
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode == 0:
            return ""
        said.seek(0)
        lines = said.read(MAX_SAID).rstrip(b"\0").decode(errors="replace").strip().splitlines()
    words = "".join(letter for letter in (lines or [""])[-1] if letter.isprintable())[:MAX_TEXT]
    return words or f"exit code {process.returncode}"


def _sheet() -> int:
    """Return a file in memory that takes MAX_SAID octets, and no more whoever writes."""
    fd = os.memfd_create("tunproxy check", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, MAX_SAID)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return fd


def _target(text: str) -> tuple[str, str] | None:
    """Return host and port, None where text is not both."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16):
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        return (host, port) if ":" in host and is_address(host) else None
    return (host, port) if _NAME.fullmatch(host) else None
