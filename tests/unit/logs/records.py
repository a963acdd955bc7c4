"""Records to format."""

import logging
import sys
from typing import Any


def record(
    words: str = "it is late", *values: Any, level: int = logging.WARNING, **more: Any
) -> logging.LogRecord:
    """Return a record as logging makes it; name is the logger's, others are its attributes."""
    name = more.pop("name", "tunproxy.upstream.proxy")
    exc_info = more.pop("exc_info", None)
    made = logging.LogRecord(name, level, "/lib/proxy.py", 17, words, values, exc_info, "dial")
    made.created = 1_700_000_000.25
    vars(made).update(more)
    return made


def failure() -> Any:
    """Return what exc_info is of an exception with a line break in it."""
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        return sys.exc_info()
