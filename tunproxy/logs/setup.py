"""Where lines go, and how they look: one handler at the root of ``logging``, of us and of our children."""

import contextlib
import logging
from typing import Final

from tunproxy.logs.about import about
from tunproxy.logs.console import NAME, TOLD, ConsoleFormatter, PriorityFormatter
from tunproxy.logs.journal import JournalHandler, is_stderr
from tunproxy.logs.levels import LEVELS, NOTICE, USUAL
from tunproxy.logs.stderr import Stderr, StderrHandler

AUTO: Final = "auto"
CONSOLE: Final = "console"
JSON: Final = "json"
JOURNAL: Final = "journal"
FORMATS: Final = (AUTO, CONSOLE, JSON, JOURNAL)
OURS: Final = "tunproxy"  # the logger of all of us

_KINDS: Final = (StderrHandler, JournalHandler)

_told: Final = logging.getLogger(TOLD)


def set_up(form: str = AUTO, level: str = USUAL, *, names_all: bool = False) -> None:
    """Have lines look like form, one of FORMATS, from level on, one of LEVELS; may be called again.

    auto is the journal where standard error leads there anyway, a console elsewhere. The journal where there
    is none is standard error, with priorities. A console shows our name in front of what ``tell`` is given;
    with names_all, in front of all lines.
    """
    if form == AUTO:
        form = JOURNAL if is_stderr() else CONSOLE
    handler = _made(form, names_all=names_all)
    logging.addLevelName(NOTICE, "NOTICE")
    take_down()
    handler.setLevel(LEVELS[level])  # others may look at more (``control.helm``), which is not for here
    _told.setLevel(NOTICE)
    if LEVELS[level] < NOTICE:  # else it stays with what Python's root has: warnings, and what we tell
        logging.getLogger(OURS).setLevel(LEVELS[level])
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(form in (JSON, JOURNAL))


def in_worker(number: int) -> None:
    """Say which worker this process is. Called after a fork, before rights are given up."""
    handler = _current()
    if handler is not None:
        handler.common["worker"] = str(number)
        if isinstance(handler, JournalHandler):
            handler.reopen()


def tell(line: str, level: int = NOTICE, **fields: object) -> None:
    """Write a line for whoever has started us; fields are those of ``about``.

    Safe in a forked child, which must not flush its parent's buffers. Never fails: where nobody takes it, a
    pipe that was closed or a full disk, the network goes on without it.
    """
    if _current() is None:
        Stderr().write(f"{NAME}{line}\n")
    else:
        _told.log(level, "%s", line, extra=about(**fields), stacklevel=2)


def warn(line: str, **fields: object) -> None:
    """Write a line as tell does, of something that somebody should look at."""
    tell(line, logging.WARNING, **fields)


def take_down() -> None:
    """Undo ``set_up``."""
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _KINDS)]:
        root.removeHandler(old)
        old.close()
    logging.getLogger(OURS).setLevel(logging.NOTSET)
    _told.setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def _current() -> StderrHandler | JournalHandler | None:
    for each in logging.getLogger().handlers:
        if isinstance(each, _KINDS):
            return each
    return None


def _made(form: str, *, names_all: bool) -> StderrHandler | JournalHandler:
    common: dict[str, str] = {}
    if form == JSON:
        from tunproxy.logs.lines import json_formatter  # with a library that nobody else needs

        return StderrHandler(json_formatter(common), common)
    if form == JOURNAL:
        with contextlib.suppress(OSError):
            return JournalHandler(common)
        return StderrHandler(PriorityFormatter(names_all=names_all), common)
    return StderrHandler(ConsoleFormatter(names_all=names_all), common)
