"""What is asked of the tunproxy that is watched, in words whatever it answers; for threads of the program."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tunproxy.control.client import end_flows, fetch_flow
from tunproxy.decide.words import describe_record
from tunproxy.errors import TunproxyError

STRANGE: Final = "this version does not understand what it says (is another one running?)"


def why(path: Path, number: int) -> str:
    """Return why a flow goes where it goes."""
    try:
        return describe_record(fetch_flow(path, number))
    except TunproxyError as error:
        return str(error)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return STRANGE


def end(path: Path, ids: Sequence[str]) -> str:
    """End flows; return how many were ended."""
    try:
        count = end_flows(path, ids)
    except TunproxyError as error:
        return str(error)
    return f"{count:,} closed" if count else "it was over already"
