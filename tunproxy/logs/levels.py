"""How much a line matters: the levels of ``logging``, one of our own, and what syslog calls them."""

import logging
from typing import Final

NOTICE: Final = 25  # between INFO and WARNING, as syslog has it: what whoever has started us is told

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": NOTICE,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
USUAL: Final = "notice"
USUAL_OF_RELAYS: Final = "info"  # nobody is told anything else of those whom they serve

# sd-daemon(3), syslog(3)
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (NOTICE, 5),
    (logging.INFO, 6),
)
_LOWEST: Final = 7


def priority(level: int) -> int:
    """Return syslog's number for a level of ``logging``: 2, critical, to 7, debug."""
    return next((number for least, number in _PRIORITIES if level >= least), _LOWEST)


def name_of(level: int) -> str:
    """Return the name of the highest of LEVELS that level reaches."""
    return next((name for name, least in reversed(LEVELS.items()) if level >= least), "debug")
