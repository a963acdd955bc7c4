"""Lines for people, and the same with a priority in front, for whoever reads them for systemd.

Words may come from strangers: what would command a terminal stands there as an escape.
"""

import logging
from typing import Final

from tunproxy.logs.levels import priority

TOLD: Final = "tunproxy.told"  # the logger of what whoever has started us is told
NAME: Final = "tunproxy: "

# C0 and C1 controls (ECMA-48), but for ends of lines and tabs
_CONTROLS: Final = {
    number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0)) if number not in (9, 10)
}


class ConsoleFormatter(logging.Formatter):
    """The words alone; with our name in front of what was told, or of all."""

    def __init__(self, *, names_all: bool = False) -> None:
        super().__init__()
        self._names_all: Final = names_all

    def format(self, record: logging.LogRecord) -> str:
        named = self._names_all or record.name == TOLD
        words = super().format(record)
        return f"{NAME if named else ''}{words if words.isprintable() else words.translate(_CONTROLS)}"


class PriorityFormatter(ConsoleFormatter):
    """As ConsoleFormatter, with the priority in front of each line (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(f"{mark}{line}" for line in super().format(record).splitlines() or [""])
