"""A table that somebody wrote becomes an instance of the dataclass of options that a plugin declares."""

import dataclasses
import difflib
from collections.abc import Mapping

from tunproxy.errors import OptionError
from tunproxy.upstream.types import convert_table


def build_options(what: str, schema: type | None, table: Mapping[str, object]) -> object:
    """Return an instance of schema, None for none; what begins the message of an OptionError.

    Every key must be a field, every value of its type, and fields without a default must be there.
    """
    if schema is None:
        if table:
            names = ", ".join(map(repr, table))
            raise OptionError(f"{what}: has no options, but {names} is given", next(iter(table)))
        return None
    fields = [field.name for field in dataclasses.fields(schema)]
    for key in table:
        if key not in fields:
            meant = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"it has: {', '.join(fields) or 'none'}"
            raise OptionError(f"{what}: no option {key!r} ({hint})", key)
    return convert_table(what, schema, table)
