"""What ``--help`` shows of a command's arguments: their metavars as we write them.

The library puts brackets and types around them, other ones in each of its versions.
"""

from collections.abc import Callable
from typing import Any  # Any: click's commands, which typer has under names of its own


def show_as_written(command: Any) -> None:
    """Have the arguments of a command, and of those below it, shown as their metavars say."""
    for each in getattr(command, "commands", {}).values():
        show_as_written(each)
    for each in command.params:
        if each.param_type_name == "argument" and each.metavar:
            each.get_usage_pieces = _pieces(each.metavar)
            each.get_help_record = _record(each.metavar, each.get_help_record)


def _pieces(metavar: str) -> Callable[[Any], list[str]]:
    return lambda context: [metavar]


def _record(metavar: str, told: Callable[[Any], Any]) -> Callable[[Any], tuple[str, str] | None]:
    def record(context: Any) -> tuple[str, str] | None:
        found = told(context)
        return (metavar, found[1]) if found is not None else None

    return record
