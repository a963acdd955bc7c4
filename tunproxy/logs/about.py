"""What a line is about, beside its words: fields that a console leaves out, and that programs look for.

_log.warning("upstream %s is slow", name, extra=about(upstream=name))
"""

import logging
from collections.abc import Mapping
from typing import Final, TypedDict

_KEY: Final = "about"  # the attribute of a record


class Extra(TypedDict):
    """What ``extra`` of logging's methods takes."""

    about: Mapping[str, str]


def about(
    *,
    flow: object = None,
    rule: object = None,
    upstream: object = None,
    plugin: object = None,
    resolver: object = None,
    worker: object = None,
) -> Extra:
    """Return the fields of a line, as ``extra`` takes them; what is None or "" is left out."""
    given = {
        "flow": flow, "rule": rule, "upstream": upstream, "plugin": plugin, "resolver": resolver,
        "worker": worker,
    }  # fmt: skip
    return {"about": {name: str(value) for name, value in given.items() if value is not None and value != ""}}


def fields_of(record: logging.LogRecord) -> Mapping[str, str]:
    """Return the fields of a record; none where who logged gave none."""
    found = getattr(record, _KEY, None)
    return found if isinstance(found, Mapping) else {}
