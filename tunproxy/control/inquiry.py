"""The supervisor's side of questions about flows: asks the worker, and answers what the API answers.

Whatever cannot be answered is an object with ``error``.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.letters import ask_at_length
from tunproxy.control.plugin_api import pass_on
from tunproxy.control.questions import NoAnswerError, Questions


class Inquiry:
    """Asks about flows. Of several workers the first has the plugins' API."""

    def __init__(self, workers: Sequence[Questions]) -> None:
        self._workers: Final = workers

    async def flows(self, limit: int, state: str = "") -> dict[str, Any]:
        """Return the flows that there are and were, the newest first; state is "open", "closed" or ""."""
        return await _told(ask_at_length(self._workers[0], "flows", {"limit": limit, "state": state}))

    async def flow(self, number: int) -> dict[str, Any]:
        """Return why a flow goes where it goes."""
        return await _told(ask_at_length(self._workers[0], "flow", {"number": number}))

    async def explanation(self, question: object) -> dict[str, Any]:
        """Return why a flow would go where it would."""
        return await _told(ask_at_length(self._workers[0], "explain", {"question": question}))

    async def plugin(self, request: Any) -> Any:
        """Return a plugin's answer to an aiohttp request."""
        try:
            return await pass_on(self._workers[0], request)
        except NoAnswerError as error:
            from aiohttp import web

            return web.json_response({"error": str(error)}, status=502)


async def _told(asking: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await asking
    except NoAnswerError as error:
        return {"error": str(error)}
