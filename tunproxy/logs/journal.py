"""systemd's journal, in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): lines with fields.

    MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, SYSLOG_FACILITY, CODE_FILE, CODE_LINE, CODE_FUNC, LOGGER
    WORKER, FLOW, RULE, UPSTREAM, PLUGIN, RESOLVER            what it is about, as far as it is

The library does the protocol, without any of systemd's own. Its handler is not used: it waits for a journal
that does not read, and knows no notices.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tunproxy.logs.about import fields_of
from tunproxy.logs.console import NAME, ConsoleFormatter, PriorityFormatter
from tunproxy.logs.levels import priority
from tunproxy.logs.stderr import STDERR, Stderr, formatted

SOCKET: Final = Path("/run/systemd/journal/socket")
IDENTIFIER: Final = "tunproxy"
FACILITY: Final = 3  # daemon, syslog(3)
PATIENCE: Final = 0.5  # our choice: seconds that a journal that does not read is waited for


class JournalHandler(logging.Handler):
    """Sends records to the journal, and where that cannot be, to standard error with their priority."""

    def __init__(self, common: dict[str, str], path: Path = SOCKET) -> None:
        """common are the fields of all lines. Raises OSError where there is no journal."""
        super().__init__()
        if not path.is_socket():
            raise FileNotFoundError(f"there is no journal at {path}")
        self.setFormatter(ConsoleFormatter())
        self.common: Final = common
        self._path: Final = path
        self._transport = self._opened()
        self._instead: Final = Stderr()
        self._plain: Final = PriorityFormatter()

    def reopen(self) -> None:
        """Take a socket of our own, in a process that was forked and has let go of its parent's."""
        self._transport = self._opened()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        words = formatted(self, record)
        try:
            self._transport.send(self._fields(record, words.removeprefix(NAME)))
            self._transport.socket.settimeout(PATIENCE)
        except OSError:
            self._transport.socket.settimeout(0)  # it is not waited for again before it takes something
            self._instead.write(f"{self._plain.format(record)}\n")

    def _opened(self) -> Any:  # which has no types
        from logging_journald import JournaldTransport  # type: ignore[import-untyped]  # only for a journal

        # The path is looked up for each line, as sd_journal_sendv(3) does: the journal may be started anew.
        transport = JournaldTransport(self._path, connected=False)
        transport.socket.settimeout(PATIENCE)
        return transport

    def _fields(self, record: logging.LogRecord, words: str) -> Iterator[tuple[str, bytes]]:
        """Yield names and values; as octets they go with their length, so that no value can add a field."""
        found = {
            "MESSAGE": words,
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "SYSLOG_FACILITY": str(FACILITY),
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            "LOGGER": record.name,
        }
        found |= {name.upper(): value for name, value in {**self.common, **fields_of(record)}.items()}
        for name, value in found.items():
            yield name, value.encode("utf-8", "backslashreplace")


def is_stderr(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether standard error goes to the journal, as systemd says of it (systemd.exec(5))."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        ours = os.fstat(STDERR)
    except OSError:
        return False
    return (device, inode) == (str(ours.st_dev), str(ours.st_ino))
