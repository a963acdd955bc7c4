"""Lines for people, and the same with a priority in front, for whoever reads them for systemd."""

import logging
from typing import Final

from tunproxy.logs.levels import priority

TOLD: Final = "tunproxy.told"  # the logger of what whoever has started us is told
NAME: Final = "tunproxy: "


class ConsoleFormatter(logging.Formatter):
    """The words alone; with our name in front of what was told, or of all."""

    def __init__(self, *, names_all: bool = False) -> None:
        super().__init__()
        self._names_all: Final = names_all

    def format(self, record: logging.LogRecord) -> str:
        named = self._names_all or record.name == TOLD
        return f"{NAME if named else ''}{super().format(record)}"


class PriorityFormatter(ConsoleFormatter):
    """As ConsoleFormatter, with the priority in front of each line (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(f"{mark}{line}" for line in super().format(record).splitlines() or [""])
