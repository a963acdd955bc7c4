"""Lines for programs: one JSON object a line, made by structlog.

time       when, RFC 3339, UTC          logger     which part of the program has said it
level      one of ``LEVELS``            message    the words for people
worker, flow, rule, upstream, plugin, resolver     what it is about, as far as it is
exception  a traceback
"""

import datetime
import logging
from collections.abc import Mapping
from typing import Any  # Any: what structlog hands from processor to processor

import structlog

from tunproxy.logs.about import fields_of
from tunproxy.logs.levels import name_of


def json_formatter(common: Mapping[str, str]) -> logging.Formatter:
    """Return what makes JSON of records; common are the fields of all lines, such as the worker."""

    def add_ours(
        logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        record: logging.LogRecord = event["_record"]
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        ours: dict[str, Any] = {
            "time": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": name_of(record.levelno),
            "logger": record.name,
            "message": event.pop("event"),
        }
        return {**ours, **common, **fields_of(record), **event}

    return structlog.stdlib.ProcessorFormatter(
        processors=[
            add_ours,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),  # in ASCII: nothing in a name can break a line or a terminal
        ]
    )
