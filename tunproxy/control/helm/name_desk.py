"""Questions to the resolvers, and what is to be forgotten of names."""

from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.helm.errands import Errands
from tunproxy.control.letters import About
from tunproxy.control.live_names import LiveNames
from tunproxy.errors import ConfigError

MAX_QUERY: Final = 4096  # our choice: octets, in hexadecimal twice as many letters


class NameDesk:
    """Asks for whoever looks on; clients are not told of it."""

    def __init__(self, names: LiveNames, errands: Errands) -> None:
        self._names: Final = names
        self._errands: Final = errands

    def begin(self, about: About) -> dict[str, Any]:
        """Have about's query, a message in hexadecimal, answered; return a ticket. Raises ConfigError.

        The result has reply, likewise, "" where the query makes no sense.
        """
        try:
            query = bytes.fromhex(about["query"])
        except (KeyError, TypeError, ValueError):
            raise ConfigError("this is no query") from None
        if len(query) > MAX_QUERY:
            raise ConfigError(f"a query of more than {MAX_QUERY} octets")
        return self._errands.begin(self._answer(query))

    async def _answer(self, query: bytes) -> dict[str, Any]:
        current = self._names.current
        if current is None:
            raise ConfigError("nobody answers questions here (see [dns])")
        return {"reply": (await current.server.ask(query)).hex()}

    def flush(self, about: About) -> dict[str, Any]:
        """Forget answers (what is "answers"), or fake addresses that are not used (what is "fake-ip")."""
        what = about.get("what")
        current = self._names.current
        count = 0
        if what == "answers":
            if current is not None:
                current.server.forget()
        elif what == "fake-ip":
            if current is not None and current.fakes is not None:
                count = current.fakes.flush()
        else:
            raise ConfigError(f"there is no {what!r} to flush")
        return {"count": count}
