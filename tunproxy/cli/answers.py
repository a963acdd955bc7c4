"""What a running tunproxy answers, in words: it may be of another version than this one."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar  # Any as the API's JSON has it

from tunproxy.errors import TunproxyError

T = TypeVar("T")


def in_words(describe: Callable[[Mapping[str, Any]], T], document: Mapping[str, Any], who: object) -> T:
    """Return what describe makes of a document of somebody's; raises TunproxyError where it cannot."""
    try:
        return describe(document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        why = "this version does not understand it (is another one running? --json shows it)"
        raise TunproxyError(f"cannot show what {who} answers: {why}") from error
